# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opens a run: bundle, ledger entry, private folder, lease and guard, in this order and before anything is created."""

from __future__ import annotations

import datetime as dt
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ._aws import client_factory
from ._evidence import RUN_FILE, Bundle
from ._guard_processes import GUARD_LINE, Process
from ._guard_socket import Client
from ._known_secrets import secrets_of
from ._lease import planned_names, write_lease
from ._ledger import Ledger, ledger_place, open_ledger
from ._leftovers_drill import drill_scope
from ._names import MAX_LEASE, RunId, check_prefix, new_run_id, rfc3339, rule_description, tags, utc_now
from ._processes import Child, ask, bare_environment
from ._redaction import Redactor
from ._results import run_redactor
from ._run_end import PRIVATE_PREFIX, finish, purge_stale, remove_private
from ._run_settings import GUARD_LOG, SOCKET_FILE, Limits, Settings, Signing, Stack, private_root
from ._signers import OpenSigner, check_signer, open_signer
from ._terraform import TerraformError, capture, environment, one_line, parse_version
from ._timestamps import TIMESTAMP_ITEM, request_timestamp
from ._trace import begin
from ._trace_file import check_trace_file

TIMESTAMP_TYPE = "application/timestamp-reply"
TIMESTAMP_SECONDS = 20.0

# What tells Sigstore's client who this workflow is: https://github.com/di/id#supported-environments
_WORKFLOW = re.compile(
    r"GITHUB_ACTIONS|ACTIONS_ID_TOKEN_REQUEST_(URL|TOKEN)|GITLAB_CI|CIRCLECI|BUILDKITE(_.*)?|SIGSTORE_.*"
)

GUARD_START_SECONDS = 60.0

# argv: plugins folder, private folder, then the folders in which this interpreter finds its packages (boto3 may lie
# where an isolated one does not look). They come last, so nothing of them shadows the standard library.
_BOOT = f"""
import sys
sys.path += [sys.argv[1], *sys.argv[3:]]
{GUARD_LINE}
sys.exit(main([sys.argv[2]]))
"""


class OpenError(Exception):
    """The run could not be opened; where a bundle was begun, it has its verdict."""


def plan(options: Mapping[str, Any], *, run_id: RunId | None = None, now: dt.datetime | None = None) -> dict[str, Any]:
    """Names of a run and where its evidence goes; creates nothing. ValueError for a bad prefix, lease or signer.

    A name or service that AWS would refuse does not stop the run from being opened (the refusal is evidence too): it is
    in `problems`, and the guard creates nothing while there is one.
    """
    run_id = run_id or new_run_id(now)
    check_prefix(str(options["tag_prefix"]))
    minutes = int(options["lease_minutes"])
    longest = int(MAX_LEASE.total_seconds()) // 60
    if not 1 <= minutes <= longest:
        raise ValueError(f"lease_minutes must be 1 to {longest}, not {minutes}")
    expires_at = rfc3339(run_id.started + dt.timedelta(minutes=minutes))
    problems: list[str] = []
    names: dict[str, str] = {}
    stack = options.get("stack")
    if stack:
        try:
            names = planned_names(str(stack.get("name_prefix") or options["tag_prefix"]), run_id.suffix)
            rule_description(str(options["tag_prefix"]), run_id.text, expires_at, str(options["service"]))
        except ValueError as exc:
            problems.append(str(exc))
    drill = drill_scope((stack or {}).get("variables") or {})
    return {
        "id": run_id.text,
        "suffix": run_id.suffix,
        "folder": str(Path(str(options["evidence_root"])).absolute() / run_id.text),
        "ledger": ledger_place(str(options["ledger"]), str(options.get("account_id") or "")),
        "private": "",
        "socket": "",
        "service": str(options["service"]),
        "region": str(options.get("region") or ""),
        "tag_prefix": str(options["tag_prefix"]),
        "expires_at": expires_at,
        "tags": tags(str(options["tag_prefix"]), run_id.text, expires_at, str(options["service"])),
        "name": names.get("load_balancer", ""),
        "names": names,
        "drill": asdict(drill) if drill else {},
        "problems": problems,
        "guarded": bool(options.get("start_guard")),
        "signer": check_signer(options.get("signer") or {}),
        "timestamp_url": str(options.get("timestamp_url") or ""),
        "trace_file": check_trace_file(options.get("trace_file")),
    }


def check_open(options: Mapping[str, Any]) -> tuple[dict[str, Any], OpenSigner | None, Ledger]:
    """What `plan` returns, the signer ready to sign and the ledger that can be written; nothing is changed by it.

    The SDK's variables are those of this process. ValueError, SignerError, LedgerError.
    """
    run = plan(options)
    signer = open_signer(run["signer"], region=run["region"])
    ledger = open_ledger(run["ledger"], region=run["region"])
    ledger.check()
    return run, signer, ledger


def caller_arn(region: str) -> str | None:
    """ARN of who asks AWS, for the record alone: None when no answer comes within seconds, whatever the reason is.

    The preflight asks again and judges.
    """
    session = {"region_name": region} if region else {}
    once = {"mode": "standard", "max_attempts": 1}
    try:
        clients = client_factory(session, connect_timeout=3, read_timeout=5, retries=once)
        return str(clients("sts").get_caller_identity()["Arn"])
    except Exception:  # of the SDK's settings (no such profile), of the network, of AWS: nothing of it stops a run here
        return None


def open_run(
    options: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    controller: Process | None,
    environ: Mapping[str, str],
    start: Callable[[Settings, Mapping[str, str]], None] | None = None,
) -> dict[str, Any]:
    """Opens the run and returns what `plan` returns, with `private` and `socket`. `facts` go into run.json.

    SignerError, LedgerError and TimestampError come before anything exists: no bundle, no ledger entry, no private
    folder. OpenError when the guard does not come up: then the bundle is finished and sealed as FAILED.
    """
    run, signer, ledger = check_open(options)
    stack = Stack.of(options, run["name"])
    limits = Limits.of((options.get("stack") or {}).get("limits") or {})
    root = private_root(environ)
    purge_stale(root or tempfile.gettempdir(), utc_now())
    private = tempfile.mkdtemp(prefix=f"{PRIVATE_PREFIX}{run['suffix']}-", dir=root)
    run["private"], run["socket"] = private, str(Path(private) / SOCKET_FILE)
    try:
        Redactor.prepare(private)
        begin(private, run["trace_file"])
        for kind, value in secrets_of(environ, stack):
            if value:
                Redactor.register(private, kind, value)
        content = run_json(run, options, facts, stack, environ, signer)
        bundle = Bundle.create(run["folder"], content, Redactor(private))
        token = _first_timestamp(bundle, run["timestamp_url"])
    except BaseException:
        remove_private(private)
        raise
    try:
        ledger.open(run["id"], run["service"], bundle.lines()[0]["sha256"])
        if token:
            bundle.append(TIMESTAMP_ITEM, token, media_type=TIMESTAMP_TYPE, status="info", step="J1")
        lease = {key: run[key] for key in ("service", "region", "expires_at", "tag_prefix", "tags")}
        planned = {"run_id": run["id"], "account_id": options.get("account_id"), "planned": run["names"]}
        write_lease(bundle, {**lease, **planned, "problems": run["problems"]})
        settings = Settings(
            run_id=run["id"],
            suffix=run["suffix"],
            folder=run["folder"],
            private=private,
            ledger=run["ledger"],
            service=run["service"],
            region=run["region"],
            tag_prefix=run["tag_prefix"],
            expires_at=run["expires_at"],
            controller=controller,
            stack=stack,
            limits=limits,
            problems=tuple(run["problems"]),
            allowed_skips=tuple(str(skip) for skip in options.get("allowed_skips") or ()),
            signer=run["signer"],
            timestamp_url=run["timestamp_url"],
            trace_file=run["trace_file"],
        )
        settings.save()
        if run["guarded"]:
            (start or start_guard)(settings, environ)
    except Exception as exc:
        raise _not_opened(run, bundle, ledger, exc) from None  # Ansible would show its text as it was
    return run


def _not_opened(run: Mapping[str, Any], bundle: Bundle, ledger: Ledger, cause: Exception) -> OpenError:
    """Finishes the bundle of a run that could not be opened, and removes its private folder, whatever else fails."""
    failure = {"step": "N1", "task": "", "cause": f"the run could not be opened: {cause}"}
    said = f"{failure['cause']}. Its bundle: {run['folder']}"
    try:
        end = finish(bundle, ledger, run["id"], failure, signing=Signing.of(run))
        if end["problem"]:
            said += f". {end['problem']}"
    except Exception as exc:
        said += f". It has no verdict: {exc}"
    said = run_redactor(run).redact_text(said)
    remove_private(run["private"])
    return OpenError(said)


def _first_timestamp(bundle: Bundle, url: str) -> bytes:
    """The token over the first manifest line; b"" without an authority. TimestampError: then the bundle is gone again,
    as nothing has announced it yet."""
    if not url:
        return b""
    try:
        return request_timestamp(url, bundle.manifest.read_bytes().rstrip(b"\n"), timeout=TIMESTAMP_SECONDS)
    except BaseException:
        for path in (bundle.manifest, bundle.folder / RUN_FILE):
            path.unlink()
        bundle.folder.rmdir()
        raise


def start_guard(settings: Settings, environ: Mapping[str, str]) -> None:
    """Starts the guard in a session of its own, and returns when it answers. OpenError with its words otherwise."""
    plugins = Path(__file__).absolute().parent.parent
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    with (Path(settings.private) / GUARD_LOG).open("ab") as log:
        os.fchmod(log.fileno(), 0o600)
        guard = Child(
            [sys.executable, "-I", "-c", _BOOT, str(plugins), settings.private, *packages],
            cwd="/",
            env=guard_environment(settings, environ),
            output=log,
            session=True,
        )
    client = Client(settings.private)
    deadline = time.monotonic() + GUARD_START_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.guard() is not None and client.ask("status", timeout=5)["pid"] == guard.pid:
                return
        except Exception:  # not yet there: the socket comes before the answer
            time.sleep(0.02)
        if guard.poll() is not None:
            break
        time.sleep(0.02)
    said = (Path(settings.private) / GUARD_LOG).read_text("utf-8", "replace").strip()
    if guard.poll() is None:
        guard.kill()
        guard.wait(5)
    raise OpenError(f"the guard of the run did not start: {one_line(said[-600:]) or 'it said nothing'}")


def guard_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What Terraform gets, and for a keyless seal the workflow's identity, which Terraform never sees."""
    keyless = settings.signer.get("type") == "sigstore"
    given = {key: value for key, value in environ.items() if keyless and _WORKFLOW.fullmatch(key)}
    return environment(environ, given)


def run_json(
    run: Mapping[str, Any],
    options: Mapping[str, Any],
    facts: Mapping[str, Any],
    stack: Stack | None,
    environ: Mapping[str, str],
    signer: OpenSigner | None = None,
) -> dict[str, Any]:
    """Content of run.json: what was asked, and with what. What is not known is null, as is `signer` without one."""
    details = dict(options.get("details") or {})
    return {
        "run_id": run["id"],
        "started_at": rfc3339(utc_now(), microseconds=True),
        "expires_at": run["expires_at"],
        "service": run["service"],
        "account_id": options.get("account_id") or None,
        "region": run["region"] or None,
        "endpoint": details.pop("endpoint", None) or environ.get("AWS_ENDPOINT_URL") or None,
        "caller_arn": details.pop("caller_arn", None) or None,
        "playbook": options.get("playbook") or None,
        "inventory_host": facts.get("inventory_host"),
        "tag_prefix": run["tag_prefix"],
        "names": run["names"],
        "git": facts.get("git") or {"commit": None, "dirty": None},
        "versions": {**dict(facts.get("versions") or {}), **terraform_versions(stack, environ)},
        "signer": None if signer is None else _who_signs(signer),
        "timestamps": bool(run["timestamp_url"]),
        "details": details,
    }


def _who_signs(signer: OpenSigner) -> dict[str, str]:
    return {"type": signer.kind, "trust": signer.trust, "keyid": signer.keyid, "identity": signer.identity}


def terraform_versions(stack: Stack | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Version of Terraform; that of the provider is known after init only, and stands in the apply's manifest line."""
    if stack is None:
        return {"terraform": None, "provider": None}
    try:
        env = environment(bare_environment(environ), stack.environment)  # a version needs nobody's credentials
        said = parse_version(capture([stack.binary, "version", "-json"], cwd=None, env=env, timeout=20))
    except TerraformError:
        return {"terraform": None, "provider": None}
    return {"terraform": said["terraform"], "provider": None}


# Where git's own settings are, and by whom sudo was called: a checkout of somebody else's is refused otherwise.
_GIT = r"XDG_CONFIG_HOME|GIT_CONFIG_[A-Z0-9_]+|GIT_CEILING_DIRECTORIES|SUDO_UID"


def git_facts(folder: str) -> dict[str, Any]:
    """Commit of the checkout at `folder` and whether the tree differs from it; null for both outside of a checkout."""

    def git(*arguments: str) -> str:
        env = bare_environment(os.environ, _GIT)
        answer = ask(["git", "-C", folder, *arguments], env=env, timeout=20)
        if answer.returncode != 0:
            raise OSError(answer.complaint)
        return answer.text.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except OSError:
        return {"commit": None, "dirty": None}
