# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One bundle under verification: what is there, what it is compared with, and what is found (classes: see _verify)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ._bundle_view import BundleView
from ._evidence import ATTESTATION, CONTINUED, JUNIT, MANIFEST, REPORT, RUN_FILE, SUMS, VERDICT
from ._statement import image_of
from ._verdict import RESULTS
from ._verify_chain import Chain, Line, judge, read_chain
from ._verify_files import (
    MAX_FILES,
    MAX_SUMS,
    PLAIN_NAME,
    Finding,
    Folder,
    NotPlain,
    VerifyError,
    parse_sums,
    shown,
)
from ._verify_seal import Claims, Seal

OWN = frozenset({MANIFEST, ATTESTATION, SUMS, JUNIT, REPORT})
"""Files of a sealed bundle that have no line in its manifest."""

_MAX_JSON = 4 * 1024 * 1024
_KEPT = frozenset({"binding.json", "image_push.json", "running_image.log"})
_LEFT_BY_CRASH = re.compile(r"\.tmp-[0-9a-f]{16}|\d{8}T\d{6}(?:\d{6})?Z_[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Item:
    """A file that something lists. `size` None: only its hash is known. `kind` once it was looked at."""

    path: str
    name: str
    sha256: str
    size: int | None = None
    seq: int | None = None
    kind: str = ""


class Case:
    """Looks at everything once, in its making; `findings`, `items` and the rest are there after that."""

    def __init__(self, folder: Folder, seal: Seal) -> None:
        self.folder = folder
        self.seal = seal
        self.findings: list[Finding] = []
        self.items: dict[str, Item] = {}
        self.chain = Chain()
        self.chain_findings: list[Finding] = []
        self.sums: dict[str, str] | None = None
        self._sums_sha256 = ""
        self._kept: list[dict[str, Any]] = []
        self.names = self._names()
        self._read_manifest()
        self._read_sums()
        self.claims = self._own_claims()
        self._judge_items()
        self.run, self.verdict = self.object(RUN_FILE), self.object(VERDICT)
        self._strays = self._judge_strays()
        self._judge_manifest()
        self._judge_sums()
        self._judge_summaries()
        self._judge_unlisted()
        self._judge_seal()

    def found(self, kind: str, path: str, reason: str, seq: int | None = None) -> None:
        self.findings.append(Finding(kind, path, reason, seq))

    # What is there

    def _names(self) -> set[str]:
        names: set[str] = set()
        for name in self.folder.names():
            names.add(name)
            if len(names) > MAX_FILES:
                raise VerifyError(f"{self.folder.path} has more than {MAX_FILES} files: that is no evidence bundle")
        if not names & {MANIFEST, RUN_FILE, ATTESTATION}:
            raise VerifyError(f"{self.folder.path} is no evidence bundle: it has no {MANIFEST}")
        return names

    def _read_manifest(self) -> None:
        def keep(line: Line, value: dict[str, Any]) -> None:
            if line.name in _KEPT:
                self._kept.append(value)

        try:
            self.chain = read_chain(self.folder, keep)
        except FileNotFoundError:
            self.found("missing", MANIFEST, "is not there")
        except NotPlain as exc:
            self.found("invalid", MANIFEST, f"is {exc}")
        self.chain_findings = judge(self.chain)

    def _read_sums(self) -> None:
        try:
            data = self.folder.read(SUMS, MAX_SUMS)
            self._sums_sha256 = hashlib.sha256(data).hexdigest()
            self.sums = parse_sums(data)
        except FileNotFoundError:
            if self.attested:
                self.found("missing", SUMS, "is not there")
        except NotPlain as exc:
            self.found("invalid", SUMS, f"is {exc}")
        except ValueError as exc:
            self.found("invalid", SUMS, str(exc))

    @property
    def attested(self) -> bool:
        """Whether there is an attestation, of whatever worth."""
        return ATTESTATION in self.names

    # What it is compared with

    def _own_claims(self) -> Claims | None:
        """The signed statement, when it is of this bundle.

        When neither manifest nor SHA256SUMS are the signed ones, but go together and begin with another run.json, the
        statement is the stranger here.
        """
        claims = self.seal.claims
        if claims is None or claims.manifest == self.chain.sha256 or claims.sums == self._sums_sha256:
            return claims
        together = self.sums is not None and self.sums.get(MANIFEST) == self.chain.sha256
        if together and self.chain.lines and self.chain.lines[0].sha256 != claims.run_sha256:
            self.found("invalid", ATTESTATION, f"is the one of another run, {shown(claims.run_id, 60)}")
            return None
        return claims

    @property
    def manifest_sealed(self) -> bool:
        return self.claims is not None and self.chain.sha256 == self.claims.manifest

    @property
    def sums_sealed(self) -> bool:
        return self.claims is not None and self.sums is not None and self._sums_sha256 == self.claims.sums

    def _listed(self) -> Iterator[Item]:
        """The items as the manifest has them, or as SHA256SUMS does where that is signed and the manifest is not."""
        by_path = {line.path: line for line in self.chain.lines}
        if self.manifest_sealed or not self.sums_sealed:
            for line in self.chain.lines:
                yield Item(line.path, line.name, line.sha256, line.size, line.seq)
        if self.manifest_sealed or self.sums is None:
            return
        for path, sha256 in self.sums.items():
            known = by_path.get(path)
            if path in OWN or (known is not None and not self.sums_sealed):
                continue
            seq = known.seq if known is not None and known.sha256 == sha256 else None
            yield Item(path, _name_of(path), sha256, None, seq)

    # The judgements

    def _judge_items(self) -> None:
        changed = {finding.seq for finding in self.chain_findings if finding.kind == "invalid"} - {None}
        for item in self._listed():
            kind, reason = self._compare(item)
            if reason and not self.manifest_sealed and item.size is not None:
                kind, reason = self._line_or_file(item, kind, reason, item.seq in changed)
            self.items[item.path] = replace(item, kind=kind)
            if reason:
                self.found(kind, item.path, reason, item.seq)

    def _line_or_file(self, item: Item, kind: str, reason: str, line_changed: bool) -> tuple[str, str]:
        """Which of the two was changed, when they differ and no signature decides: that of a line is said of the line.

        The word of SHA256SUMS counts where the manifest is not the one that it knows.
        """
        sums = self.sums or {}
        if item.path in sums and (line_changed or sums.get(MANIFEST) != self.chain.sha256):
            return self._compare(replace(item, sha256=sums[item.path], size=None))
        return ("invalid", "") if line_changed else (kind, reason)

    def _compare(self, item: Item) -> tuple[str, str]:
        """Class of a file, and the reason when that is not `ok`."""
        try:
            difference = self.folder.difference(item.path, item.sha256, item.size)
        except FileNotFoundError:
            return "missing", "is not there"
        except NotPlain as exc:
            return "invalid", f"is {exc}"
        return ("invalid", difference) if difference else ("ok", "")

    def _judge_strays(self) -> dict[str, str]:
        """Files that were in the folder when a run went on after a crash, of which a `continued.json` has the hash."""
        strays: dict[str, str] = {}
        tellers = [item for item in self.items.values() if item.name == CONTINUED]
        for item in tellers:
            entries = self._json(item.path).get("unlisted") if item.kind == "ok" else None
            for entry in entries if isinstance(entries, list) else []:
                path = entry.get("path") if isinstance(entry, dict) else None
                if isinstance(path, str) and PLAIN_NAME.fullmatch(path) and path not in OWN:
                    strays[path] = str(entry.get("sha256"))
        if self.sums_sealed and any(item.kind != "ok" for item in tellers):
            strays |= {path: sha256 for path, sha256 in (self.sums or {}).items() if path not in OWN | set(self.items)}
        if self.sums_sealed:  # what was taken out of the folder before the seal is not in it
            strays = {path: sha256 for path, sha256 in strays.items() if path in (self.sums or {})}
        for path, sha256 in strays.items():
            kind, reason = ("ok", "") if path in self.items else self._compare(Item(path, "", sha256))
            if reason:
                self.found(kind, path, f"{reason} ({CONTINUED} names it)")
        return strays

    def _judge_manifest(self) -> None:
        self.findings += self.chain_findings
        wanted = self.claims.manifest if self.claims is not None else (self.sums or {}).get(MANIFEST, "")
        if not self.chain.sha256 or not wanted or wanted == self.chain.sha256:
            return
        cut, missing = self._cut()
        if cut:
            lines = f"{missing} of its lines, or more," if missing else "lines"
            self.found("truncated", MANIFEST, f"{lines} were cut off at its end")
        elif not any(finding.path == MANIFEST for finding in self.findings):
            who = "the signed statement" if self.claims is not None else SUMS
            self.found("invalid", MANIFEST, f"is not the one that {who} is about: changed, written anew, or another's")

    def _cut(self) -> tuple[bool, int]:
        """Whether the manifest is but a beginning of what was sealed, and how many items have no line in it."""
        if any(finding.kind != "torn" for finding in self.chain_findings):
            return False, 0
        ended = any(line.name == VERDICT for line in self.chain.lines)
        if self.sums is None:
            return not ended and not self.chain.torn, 0
        if not all(self.sums.get(line.path) == line.sha256 for line in self.chain.lines):
            return False, 0
        absent = set(self.sums) - OWN - {line.path for line in self.chain.lines} - set(self._strays)
        if self.chain.torn:
            return len(absent) > 1, len(absent) - 1
        return bool(absent) and not ended, len(absent)

    def _judge_sums(self) -> None:
        if self.sums is None:
            return
        if self.claims is not None and not self.sums_sealed:
            self.found("invalid", SUMS, f"has other bytes than the sealed one{self._sums_against_manifest()}")
        elif self.sums.get(MANIFEST) == self.chain.sha256 and (wrong := self._sums_against_manifest()):
            self.found("invalid", SUMS, f"does not fit the manifest{wrong}")

    def _sums_against_manifest(self) -> str:
        """The first thing in which SHA256SUMS and a manifest in good form differ, in words."""
        sums = self.sums or {}
        if self.chain_findings:
            return ""
        wanted = {line.path: line.sha256 for line in self.chain.lines} | {MANIFEST: self.chain.sha256}
        for path in [*wanted, JUNIT, REPORT]:
            if path not in sums:
                return f": {path} is not in it"
            if sums[path] != wanted.get(path, sums[path]):
                return f": {path} has another hash in it"
        more = sorted(set(sums) - set(wanted) - OWN - set(self._strays))
        return f": it lists {more[0]}, which is no item" if more else ""

    def _judge_summaries(self) -> None:
        """junit.xml and report.html: only SHA256SUMS knows them, where that one is not in doubt itself."""
        doubted = self.sums is None or any(finding.path == SUMS for finding in self.findings)
        for name in (JUNIT, REPORT):
            sha256 = "" if doubted or self.sums is None else self.sums.get(name, "")
            if not sha256 and not self.attested and name not in self.names:
                continue
            kind, reason = self._compare(Item(name, "", sha256)) if sha256 else self._plain(name)
            if reason:
                self.found(kind, name, reason)

    def _plain(self, name: str) -> tuple[str, str]:
        try:
            self.folder.open(name).close()
        except FileNotFoundError:
            return "missing", "is not there"
        except NotPlain as exc:
            return "invalid", f"is {exc}"
        return "ok", ""

    def _judge_unlisted(self) -> None:
        if not self.chain.sha256 and self.sums is None:
            return  # the manifest was not read, and nothing else could list them
        for name in sorted(self.names - OWN - set(self.items) - set(self._strays)):
            left = "; a writer that was killed leaves such a file" if self.left_by_crash(name) else ""
            self.found("unlisted", name, f"no line of the manifest lists it{left}")

    def left_by_crash(self, name: str) -> bool:
        """Whether an unlisted file can be what a crash left: not in a sealed bundle."""
        return not self.attested and bool(_LEFT_BY_CRASH.fullmatch(name)) and self.folder.is_file(name)

    def _judge_seal(self) -> None:
        ended = any(line.name == VERDICT for line in self.chain.lines)
        if self.seal.kind == "unsealed":
            more = "" if ended else ", and no verdict: the run did not come to its end"
            self.found("unsealed", ATTESTATION, f"{self.seal.reason}{more}")
        elif self.seal.kind != "ok":
            self.found(self.seal.kind, ATTESTATION, self.seal.reason)
        claims = self.claims
        if claims is None:
            return
        if self.manifest_sealed and not ended:
            self.found("missing", VERDICT, "was sealed without a verdict")
        said = self.verdict.get("result", claims.result)
        if said != claims.result:
            self.found(
                "invalid", ATTESTATION, f"says {claims.result}; the verdict in the bundle is {shown(str(said), 60)}"
            )
        run = self.items.get(RUN_FILE)
        if run is not None and run.kind == "ok" and run.sha256 != claims.run_sha256:
            self.found("invalid", ATTESTATION, f"is about another {RUN_FILE}")
        elif self.run.get("run_id", claims.run_id) != claims.run_id:
            self.found("invalid", ATTESTATION, f"is about another run, {shown(claims.run_id, 60)}")
        if self.manifest_sealed and all(item.kind == "ok" for item in self.items.values()):
            self._judge_image(claims)

    def _judge_image(self, claims: Claims) -> None:
        """The image of the statement is the one that the proofs in the bundle were about."""
        image = image_of(BundleView(self.folder.path, self.run, self._kept, self.verdict))
        proved = sorted({image.digest, image.platform} - {""}) if image is not None else []
        said = sorted(set(claims.images.values()))
        if said != proved:
            words = [", ".join(digests) or "no image" for digests in (said, proved)]
            self.found("invalid", ATTESTATION, f"is about {words[0]}; what the bundle proves is about {words[1]}")

    def answer(self, image: str, results: Collection[str]) -> None:
        """Whether it is the bundle that somebody asked for: about this image, with one of these verdicts."""
        if image and self.claims is not None and image not in self.claims.images.values():
            about = ", ".join(sorted(self.claims.images.values())) or "no image"
            self.found("wrong-subject", ATTESTATION, f"is about {about}, not about {image}")
        if results and self.result not in results:
            says = self.result or "not known"
            self.found("wrong-subject", VERDICT, f"the verdict is {says}, asked for was {' or '.join(sorted(results))}")

    @property
    def started(self) -> str:
        """When the run began by the clock of its runner."""
        return str(self.run.get("started_at") or "")

    @property
    def result(self) -> str:
        """The verdict of the run, when it is there as it was written; else ""."""
        said = self.verdict.get("result")
        return said if isinstance(said, str) and said in RESULTS else ""

    def item(self, name: str) -> Item | None:
        """The newest item of this name that is as it was written."""
        return next((i for i in reversed(self.items.values()) if i.name == name and i.kind == "ok"), None)

    def object(self, name: str) -> dict[str, Any]:
        """JSON of `item`; {} when there is none, or it is no object."""
        found = self.item(name)
        return {} if found is None else self._json(found.path)

    def _json(self, path: str) -> dict[str, Any]:
        try:
            data = self.folder.read(path, _MAX_JSON)
            value = json.loads(data) if len(data) <= _MAX_JSON else None
        except (FileNotFoundError, NotPlain, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def _name_of(path: str) -> str:
    """Of `<UTC>_<name>`; run.json is its own."""
    return path if path == RUN_FILE else path.partition("_")[2]
