# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle may be made to harm who verifies it: nothing outside is touched, nothing hangs, nothing grows (N4)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import stat
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _verify_chain, _verify_files
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import FIRST_PREV, canonical
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from ansible_collections.papyrus.ops.plugins.module_utils._verify_chain import parse_line
from ansible_collections.papyrus.ops.plugins.module_utils._verify_files import Folder, NotPlain, VerifyError, parse_sums
from ansible_collections.papyrus.ops.plugins.module_utils._verify_request import Request, examine
from ansible_collections.papyrus.ops.plugins.module_utils._verify_text import summary, text
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import (
    Key,
    manifest_lines,
    run_bundle,
    write,
)

COLLECTIONS = Path(__file__).resolve().parents[7]
MANIFEST, SUMS, ATTESTATION = "manifest.jsonl", "SHA256SUMS", "attestation.dsse.json"
SECRET = b"the secret of somebody else"

LINE: dict[str, Any] = {
    "seq": 1, "prev": "ab" * 32, "at": "2026-01-31T12:00:00.000000Z", "name": "healthz.log", "status": "ok",
    "path": "20260131T120000Z_healthz.log", "media_type": "text/plain", "bytes": 3, "sha256": "cd" * 32, "step": "D1",
    "meta": {},
}  # fmt: skip

_watched: list[tuple[str, tuple[Any, ...]]] | None = None

pytestmark = pytest.mark.usefixtures("not_for_keeping")


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if (
        _watched is not None
        and not isinstance(args[0], int)
        and event in ("open", "os.listdir", "os.scandir", "os.chdir", "subprocess.Popen", "exec")
    ):
        _watched.append((event, args))


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched() -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """Every file that is opened by this interpreter in the block."""
    global _watched
    _watched = seen = []
    try:
        yield seen
    finally:
        _watched = None


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


def said(result: dict[str, Any]) -> set[tuple[str, str]]:
    return {(finding["class"], finding["path"]) for finding in result["findings"]}


# Lines


def raw(**changes: Any) -> bytes:
    return canonical({**LINE, **changes})


REFUSED: dict[str, bytes] = {
    "no JSON": b"hello",
    "empty": b"",
    "no object": b"[]",
    "no UTF-8": b'{"a":"\xff"}',
    "lone surrogate": raw().replace(b"healthz.log", b"\\ud800.log"),
    "white space": raw().replace(b":", b": ", 1),
    "order": json.dumps(dict(reversed(LINE.items())), separators=(",", ":")).encode(),
    "escape": raw().replace(b'"ok"', b'"\\u006fk"'),
    "key twice": raw().replace(b'"seq":1', b'"seq":0,"seq":1'),
    "1e999": raw().replace(b'"bytes":3', b'"bytes":1e999'),
    "NaN": raw().replace(b'"bytes":3', b'"bytes":NaN'),
    "Infinity in meta": raw().replace(b'"meta":{}', b'"meta":{"x":Infinity}'),
    "1e400 in meta": raw().replace(b'"meta":{}', b'"meta":{"x":1e400}'),
    "huge number": raw().replace(b'"bytes":3', b'"bytes":' + b"9" * 20),
    "number of 5000 digits": raw().replace(b'"bytes":3', b'"bytes":' + b"9" * 5000),
    "float": raw().replace(b'"bytes":3', b'"bytes":3.0'),
    "deep": raw().replace(b'"meta":{}', b'"meta":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "deep list": b"[" * 60_000,
    "field less": canonical({name: value for name, value in LINE.items() if name != "step"}),
    "field more": raw(more=1),
    "negative seq": raw(seq=-1),
    "seq as text": raw(seq="1"),
    "seq true": raw(seq=True),
    "bytes true": raw(bytes=True),
    "bytes negative": raw(bytes=-1),
    "prev short": raw(prev="ab"),
    "prev in capitals": raw(prev="AB" * 32),
    "sha256 in capitals": raw(sha256="CD" * 32),
    "time without zone": raw(at="2026-01-31T12:00:00.000000"),
    "time with offset": raw(at="2026-01-31T12:00:00.000000+00:00"),
    "no such time": raw(at="2026-02-31T12:00:00.000000Z"),
    "other digits": raw(at="٢٠٢٦-01-31T12:00:00.000000Z"),
    "status": raw(status="fine"),
    "step": raw(step=""),
    "meta": raw(meta=[]),
    "media type": raw(media_type=None),
    "name": raw(name="../x"),
    "name of the manifest": raw(name=MANIFEST, path=f"20260131T120000Z_{MANIFEST}"),
    "name of a sealed file": raw(name=SUMS, path=f"20260131T120000Z_{SUMS}"),
    **{
        f"path {path!r}": raw(path=path)
        for path in (
            "", ".", "..", "/", "/etc/passwd", "../healthz.log", "a/healthz.log", "./healthz.log", "healthz.log",
            "20260131T120000Z_healthz.log/", "20260131T120000Z_../healthz.log", "20260131T120000Z_healthz.log\0",
            "20260131T120000Z_healthz.log\n", "20260131T120000Z_other.log", "20260131T120000Z_hea\u0142thz.log",
            "２0260131T120000Z_healthz.log", MANIFEST, SUMS, ATTESTATION, "junit.xml", "report.html", "run.json",
            ".tmp-0123456789abcdef", "C:\\healthz.log", "~/healthz.log", "-rf",
        )
    },
    "path as number": raw(path=7),
    "run.json elsewhere": raw(name="run.json", path="20260131T120000Z_run.json"),
}  # fmt: skip


def test_N4_a_line_in_its_form_is_read() -> None:
    line, value = parse_line(raw(), 7)
    assert (line.number, line.seq, line.path, line.size) == (7, 1, LINE["path"], 3) and value == LINE
    assert line.hash == hashlib.sha256(raw()).hexdigest()
    parse_line(raw(path="20260131T120000123456Z_healthz.log"), 1)
    parse_line(raw(name="run.json", path="run.json"), 1)


@pytest.mark.parametrize("kind", REFUSED)
def test_N4_a_line_in_any_other_form_is_refused(kind: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_line(REFUSED[kind], 1)
    reason = str(refused.value)
    assert reason.isprintable() and len(reason) < 300 and reason.isascii()


@pytest.mark.parametrize("kind", REFUSED)
def test_N4_a_refused_line_is_named_and_nothing_outside_is_touched(folder: Path, key: Key, kind: str) -> None:
    lines = manifest_lines(folder)
    write(folder / MANIFEST, b"".join([*lines[:1], REFUSED[kind] + b"\n", *lines[2:]]))
    names = {entry.name for entry in folder.iterdir()}
    with watched() as opened:
        result = verify(folder, [key.trusted])
    assert said(result) == {("invalid", MANIFEST)} and result["result"] == "tampered"
    assert [str(args[0]) for event, args in opened if event == "open" and args[0] not in names] == [str(folder)]
    assert {event for event, _args in opened} == {"open"}


def test_N4_what_a_run_says_that_it_found_is_not_looked_for_elsewhere(tmp_path: Path, key: Key, secret: Path) -> None:
    bundle = run_bundle(tmp_path / "runs", random.Random(7), crash="", ended=False)
    paths = ["../secret", f"../../{secret.name}", str(secret), "", ".", "a\0b", MANIFEST, ATTESTATION, 7, None, ["x"]]
    entries = [{"path": path, "sha256": hashlib.sha256(SECRET).hexdigest()} for path in paths]
    bundle.append("continued.json", json.dumps({"unlisted": [*entries, "x", None]}).encode(), status="info", step="J1")
    bundle.append("continued.json", b'{"unlisted": 7}', status="info", step="J1")
    bundle.append("continued.json", b"[" * 100_000, status="info", step="J1")
    names = {entry.name for entry in bundle.folder.iterdir()}
    with watched() as opened:
        result = verify(bundle.folder, [key.trusted])
    assert said(result) == {("unsealed", ATTESTATION)}
    assert {str(args[0]) for event, args in opened if event == "open"} <= names | {str(bundle.folder)}


def test_N4_two_lines_naming_one_file_are_one_too_many(folder: Path, key: Key) -> None:
    lines = [json.loads(line) for line in manifest_lines(folder)]
    lines[2] |= {name: lines[1][name] for name in ("name", "path", "bytes", "sha256")}
    previous, chained = FIRST_PREV, []
    for line in lines:
        chained.append(canonical({**line, "prev": previous}))
        previous = hashlib.sha256(chained[-1]).hexdigest()
    write(folder / MANIFEST, b"\n".join(chained) + b"\n")
    (folder / ATTESTATION).unlink()
    (folder / SUMS).unlink()
    result = verify(folder, [key.trusted])
    assert ("invalid", MANIFEST) in said(result) and result["result"] == "tampered"
    assert any("names the file" in finding["reason"] for finding in result["findings"])


# Files


def _link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def _link_beside(path: Path, secret: Path) -> None:
    path.symlink_to(f"../../{secret.name}")


def _fifo(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, secret: Path) -> None:
    path.mkdir()
    (path / "inner").symlink_to(secret)


def _device(path: Path, secret: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.stat("/dev/zero").st_rdev)
    except PermissionError:
        pytest.skip("this user makes no devices")


SPECIAL = [_link, _link_beside, _fifo, _folder, _device]


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("name", ["run.json", "item", MANIFEST, SUMS, ATTESTATION, "report.html", "more"])
def test_N4_what_is_no_file_is_named_and_not_opened(
    folder: Path, key: Key, secret: Path, name: str, special: Callable[[Path, Path], None]
) -> None:
    path = json.loads(manifest_lines(folder)[1])["path"] if name == "item" else name
    (folder / path).unlink(missing_ok=True)
    special(folder / path, secret)
    with watched() as opened:
        result = verify(folder, [key.trusted])
    assert said(result) == {("unlisted" if name == "more" else "invalid", path)}
    assert path not in [args[0] for event, args in opened if event == "open"]
    assert not any(str(secret) in str(args) for _event, args in opened)
    assert hashlib.sha256(SECRET).hexdigest() not in json.dumps(result)


@pytest.mark.parametrize("special", [_link, _fifo, _folder])
def test_N4_what_takes_the_place_of_a_file_meanwhile_is_not_followed(
    folder: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, special: Callable[[Path, Path], None]
) -> None:
    """Between stat(2) and open(2): the flags of the second have to do it alone."""
    real = os.stat

    def stat_and_swap(name: Any, **more: Any) -> os.stat_result:
        found = real(name, **more)
        (folder / name).unlink()
        special(folder / name, secret)
        return found

    with Folder(folder) as place, monkeypatch.context() as patch:
        patch.setattr(_verify_files.os, "stat", stat_and_swap)
        with pytest.raises((NotPlain, VerifyError)):
            place.open("run.json")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc/passwd", "a\0b", "\u00e9", "x" * 300, "-x", ".tmp-1"])
def test_N4_no_other_name_is_ever_looked_up(folder: Path, name: str) -> None:
    with Folder(folder) as place, watched() as opened, pytest.raises(NotPlain):
        place.open(name)
    assert opened == []


def test_N4_names_in_another_unicode_form_are_other_names(folder: Path, key: Key) -> None:
    for name in ("r\u00e9sum\u00e9.log", unicodedata.normalize("NFD", "r\u00e9sum\u00e9.log"), "ｒun.json"):
        (folder / name).write_bytes(b"{}")
    result = verify(folder, [key.trusted])
    assert {kind for kind, _path in said(result)} == {"unlisted"} and len(result["findings"]) == 3


def test_N4_hostile_names_and_values_give_no_orders_to_a_terminal(tmp_path: Path, folder: Path, key: Key) -> None:
    hostile = "\x1b[2K\rOK \u202egnihton\nOK  everything\x07"
    (folder / hostile).write_bytes(b"")
    (folder / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    copy = tmp_path / f"copy{hostile}"
    folder.rename(copy)
    (copy / "run.json").unlink()
    answer = examine(Request(bundles=[str(copy)], keys=[str(key.public)]))
    for shown in (text(answer), summary(answer)):
        assert all(character == "\n" or character.isprintable() for character in shown)
        assert "\nOK" not in shown and shown.isprintable() == ("\n" not in shown)
    assert all(finding["path"].isprintable() for finding in answer["bundles"][0]["findings"])
    json.dumps(answer).encode("utf-8")


# Amounts


def test_N4_a_manifest_of_gigabytes_is_not_read(folder: Path, key: Key) -> None:
    (folder / MANIFEST).unlink()
    with (folder / MANIFEST).open("wb") as file:
        file.truncate(8 * 1024**3)
    begun = time.process_time()
    result = verify(folder, [key.trusted])
    assert time.process_time() - begun < 2
    assert said(result) == {("invalid", MANIFEST)}
    assert "longer than 65536 bytes" in result["findings"][0]["reason"]


def test_N4_no_more_lines_are_read_than_a_run_can_write(
    folder: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_verify_chain, "MAX_LINES", 1000)
    write(folder / MANIFEST, b"{}\n" * 5000)
    result = verify(folder, [key.trusted])
    assert said(result) == {("invalid", MANIFEST)} and len(result["findings"]) == 1001
    assert "one of more than 1000" in result["findings"][-1]["reason"]
    assert len(text(examine(Request(bundles=[str(folder)], keys=[str(key.public)]))).splitlines()) < 40


def test_N4_an_envelope_of_megabytes_is_no_envelope(folder: Path, key: Key) -> None:
    (folder / ATTESTATION).unlink()
    with (folder / ATTESTATION).open("wb") as file:
        file.truncate(1024**3)
    assert said(verify(folder, [key.trusted])) == {("invalid", ATTESTATION)}


def test_N4_a_file_of_another_size_is_not_read(folder: Path, key: Key) -> None:
    path = json.loads(manifest_lines(folder)[1])["path"]
    (folder / path).unlink()
    with (folder / path).open("wb") as file:
        file.truncate(2**42)  # four terabytes, sparse
    result = verify(folder, [key.trusted])
    assert said(result) == {("invalid", path)} and "4398046511104 bytes instead of" in result["findings"][0]["reason"]


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"ab" * 32 + b"  x.log", b"AB" * 32 + b"  x.log\n", b"ab" * 32 + b" *x.log\n", b"ab" * 32 + b" x.log\n",
        b"ab" * 32 + b"  ./x.log\n", b"ab" * 32 + b"  a/x.log\n", b"ab" * 32 + b"  ../x.log\n",
        b"ab" * 32 + b"  /etc/passwd\n", b"\\" + b"ab" * 32 + b"  x\\n.log\n", b"ab" * 32 + b"  x.log\r\n",
        b"ab" * 32 + b"  \xc3\xa9.log\n", b"ab" * 32 + b"  x.log\n" * 2, b"ab" * 32 + b"  x\0.log\n",
        (b"ab" * 32 + b"  x.log\n") * 2, (b"ab" * 32 + b"  y.log\n") + (b"ab" * 32 + b"  x.log\n"),
        b"ab" * 32 + b"  SHA256SUMS\n", b"ab" * 32 + b"  attestation.dsse.json\n",
        b"ab" * 32 + b"  " + b"x" * 201 + b"\n",
    ],
)  # fmt: skip
def test_N4_sums_in_any_other_form_are_refused(data: bytes) -> None:
    assert parse_sums(b"ab" * 32 + b"  x.log\n") == {"x.log": "ab" * 32}
    with pytest.raises(ValueError):
        parse_sums(data)


def test_N4_the_command_never_hangs_on_a_bundle_of_fifos(tmp_path: Path, folder: Path, key: Key) -> None:
    for name in [entry.name for entry in folder.iterdir()]:
        (folder / name).unlink()
        os.mkfifo(folder / name)
    command = [sys.executable, "-I", "-c", _CLI, str(COLLECTIONS), str(folder), "--key", str(key.public)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("TAMPERED  ") and "is a FIFO, not a file" in done.stdout
    for entry in folder.iterdir():
        with pytest.raises(OSError, match="No such device or address"):  # ENXIO: nobody has it open for reading
            os.open(entry, os.O_WRONLY | os.O_NONBLOCK)


_CLI = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.papyrus.ops.plugins.module_utils._verify_cli import main
sys.exit(main(sys.argv[2:]))
"""
