# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writers that are killed or fail at every single step: never a wrong chain, never a lost item (J1; EVIDENCE.md)."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from evidence_check import check_chain

# The child of a fork runs nothing of the threads by which xdist talks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)

# Everything by which the disk changes.
CHANGES = ("open", "write", "fsync", "link", "unlink", "replace", "ftruncate")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "run", {"run_id": "x", "service": "svc"}, now=lambda: NOON)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process that is killed loses what it wrote; that fsync is called where it has to be is seen by `watched`."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@contextmanager
def watched(see: Callable[[str, tuple[Any, ...], Callable[..., Any]], Any]) -> Iterator[None]:
    """Every call of CHANGES goes through `see(name, arguments, call)`, which makes it, or not."""
    real = {name: getattr(os, name) for name in CHANGES}

    def through(name: str) -> Callable[..., Any]:
        return lambda *args, **more: see(name, args, lambda *now: real[name](*(now or args), **more))

    for name in CHANGES:
        setattr(os, name, through(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def name_of(target: Any) -> str:
    """File name of a path or an open descriptor; a temporary one by its prefix alone."""
    path = Path(os.readlink(f"/proc/self/fd/{target}")) if isinstance(target, int) else Path(target)
    return ".tmp-" if path.name.startswith(".tmp-") else path.name


def killed_at(number: int, when: str, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that is killed at its change `number`; False when it ended before that.

    `when`: before the change, after it, or in the middle of a write.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def see(name: str, args: tuple[Any, ...], call: Callable[..., Any]) -> Any:
            nonlocal count
            count += 1
            if count == number:
                if when == "half" and name == "write":
                    call(args[0], args[1][: len(args[1]) // 2])
                elif when == "after":
                    call()
                os.kill(os.getpid(), signal.SIGKILL)
            return call()

        try:
            with watched(see):
                work()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


# Order


def test_J1_bytes_are_durable_before_their_name_and_the_name_before_the_line(bundle: Bundle) -> None:
    seen: list[tuple[str, ...]] = []

    def see(name: str, args: tuple[Any, ...], call: Callable[..., Any]) -> Any:
        if name == "open":
            return call()
        seen.append((name, *(name_of(each) for each in args[: 2 if name == "link" else 1])))
        return call()

    with watched(see):
        line = bundle.append("healthz.log", b"HTTP/1.1 200 OK\n", status="ok", step="D1")
    assert seen == [
        ("write", ".tmp-"),
        ("fsync", ".tmp-"),
        ("link", ".tmp-", line["path"]),
        ("unlink", ".tmp-"),
        ("fsync", bundle.folder.name),
        ("write", "manifest.jsonl"),
        ("fsync", "manifest.jsonl"),
    ]


def test_J1_a_torn_line_is_durable_in_an_item_before_it_is_cut_off(bundle: Bundle) -> None:
    with bundle.manifest.open("ab") as file:
        file.write(b'{"torn')
    seen: list[tuple[str, str]] = []

    def see(name: str, args: tuple[Any, ...], call: Callable[..., Any]) -> Any:
        if name in ("fsync", "ftruncate"):
            seen.append((name, name_of(args[0])))
        return call()

    with watched(see):
        assert bundle.recover() is not None
    assert seen == [
        ("fsync", ".tmp-"),
        ("fsync", bundle.folder.name),
        ("ftruncate", "manifest.jsonl"),
        ("fsync", "manifest.jsonl"),
        ("fsync", "manifest.jsonl"),
    ]


# Killed


@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_J1_killed_at_every_change_of_an_append(tmp_path: Path, when: str) -> None:
    outcomes = set()
    for number in range(1, 100):
        bundle = Bundle.create(tmp_path / f"run-{number}", {})
        first = bundle.append("kept.log", b"kept", status="ok", step="D1")
        if not killed_at(number, when, partial(bundle.append, "lost.log", b"bytes" * 9, status="ok", step="D1")):
            break
        recovered = Bundle(bundle.folder).recover()
        lines = check_chain(bundle.folder)
        assert lines[1] == first
        outcomes.add(tuple((line["name"], line["status"]) for line in lines[2:]))
        assert (recovered is None) == (lines[-1]["name"] != "continued.json")
        for line in lines:
            if line["name"] == "lost.log":
                assert (bundle.folder / line["path"]).read_bytes() == b"bytes" * 9
                assert line["status"] == "ok" or (line["status"], line["step"]) == ("info", "J1")
                assert (line["status"] == "ok") == ("recovered" not in line["meta"])
        Bundle(bundle.folder).append("after.log", b"", status="ok", step="D1")
        check_chain(bundle.folder)
    assert number > 8
    torn = (("lost.log", "info"), ("continued.json", "info"))
    assert outcomes == {(), torn, (("lost.log", "ok"),)}


@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_J1_killed_at_every_change_of_the_recovery_itself(tmp_path: Path, when: str) -> None:
    """Torn line, item without a line, verdict without a line, foreign file: none is forgotten however often it dies."""
    for number in range(1, 200):
        bundle = Bundle.create(tmp_path / f"run-{number}", {})
        (bundle.folder / "20260131T120000Z_healthz.log").write_bytes(b"whole")
        (bundle.folder / "20260131T120001Z_verdict.json").write_bytes(b'{"result": "PASSED"}')
        (bundle.folder / "notes.txt").write_bytes(b"of the operator")
        with bundle.manifest.open("ab") as file:
            file.write(b'{"torn": "xyz')
        died = killed_at(number, when, Bundle(bundle.folder).recover)
        Bundle(bundle.folder).recover()
        lines = check_chain(bundle.folder, foreign={"notes.txt"})
        names = [line["name"] for line in lines]
        assert names.count("healthz.log") == 1 and "unlisted_verdict.json" in names and "verdict.json" not in names
        told = [json.loads(bundle.data(line)) for line in lines if line["name"] == "continued.json"]
        assert any(each["torn_line"] == '{"torn": "xyz' for each in told)
        assert all([entry["path"] for entry in each["unlisted"]] == ["notes.txt"] for each in told)
        if not died:
            break
    assert 20 < number < 199


def test_J1_killed_at_every_change_of_the_verdict(tmp_path: Path) -> None:
    """What a writer left is listed before the verdict, as nothing can be afterwards; a verdict without line is none."""
    for number in range(1, 200):
        bundle = Bundle.create(tmp_path / f"run-{number}", {})
        (bundle.folder / "20260131T120000Z_healthz.log").write_bytes(b"whole")
        died = killed_at(number, "after", partial(bundle.append, "verdict.json", b"{}", status="ok", step="all"))
        if died and not Bundle(bundle.folder).closed():
            Bundle(bundle.folder).append("verdict.json", b"{}", status="ng", step="all")
        names = [line["name"] for line in check_chain(bundle.folder)]
        assert names.count("verdict.json") == 1 and names[-1] == "verdict.json" and names.count("healthz.log") == 1
        if not died:
            break
    assert 20 < number < 199


def test_J1_killed_while_a_bundle_is_created(tmp_path: Path) -> None:
    """Such a run was never announced; what there is of it can be continued all the same."""
    for number in range(1, 100):
        folder = tmp_path / f"run-{number}"
        if not killed_at(number, "half", partial(Bundle.create, folder, {"run_id": "x"})):
            break
        if not (folder / "manifest.jsonl").exists():
            continue
        Bundle(folder).recover()
        if (folder / "run.json").exists():
            lines = check_chain(folder)
            assert (lines[0]["path"], lines[0]["step"]) == ("run.json", "all")
        else:
            assert (folder / "manifest.jsonl").read_bytes() == b""
    assert number > 12


def test_J1_a_line_torn_at_every_byte(tmp_path: Path) -> None:
    whole = Bundle.create(tmp_path / "whole", {})
    line = whole.append("lost.log", b"bytes", status="ok", step="D1", meta={"reason": "é\U0001f600\n"})
    raw = whole.manifest.read_bytes()
    begin = raw.index(b"\n") + 1
    for end in range(begin + 1, len(raw)):
        for way in ("recover", "append") if end % 8 == 0 else ("recover",):
            folder = tmp_path / f"{way}-{end}"
            shutil.copytree(whole.folder, folder)
            os.truncate(folder / "manifest.jsonl", end)
            assert Bundle(folder).read()[1] == raw[begin:end]
            if way == "append":
                Bundle(folder).append("after.log", b"", status="ok", step="D1")
            Bundle(folder).recover()
            lines = check_chain(folder)
            assert {each["name"]: each["sha256"] for each in lines}["lost.log"] == line["sha256"]
            told = [each for each in lines if each["name"] == "continued.json"]
            content = json.loads(Bundle(folder).data(told[0]))
            assert content["torn_bytes"] == end - begin
            assert told[0]["meta"]["torn_sha256"] == hashlib.sha256(raw[begin:end]).hexdigest()
            assert content["torn_line"] == raw[begin:end].decode("utf-8", "replace")
            shutil.rmtree(folder)


# Failing


def failing(number: int, error: int, lasting: bool, at: tuple[str, ...]) -> Callable[..., Any]:
    """Call `number` of those in `at` fails with `error` (a write does half of its work), with `lasting` all later."""
    count = 0

    def see(name: str, args: tuple[Any, ...], call: Callable[..., Any]) -> Any:
        nonlocal count
        if name in at and not (name == "open" and not args[1] & os.O_CREAT):
            count += 1
            if count == number or (lasting and count > number):
                if name == "write" and len(args[1]) > 1:
                    call(args[0], args[1][: len(args[1]) // 2])
                raise OSError(error, os.strerror(error))
        return call()

    return see


@pytest.mark.parametrize(
    ("error", "at"),
    [
        (errno.ENOSPC, ("open", "write", "fsync", "link")),
        (errno.EIO, ("write", "fsync", "link", "unlink", "ftruncate")),
        (errno.EROFS, ("open", "link")),
    ],
    ids=["disk-full", "io-error", "read-only"],
)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_J1_an_error_at_every_change_of_an_append(
    tmp_path: Path, error: int, at: tuple[str, ...], lasting: bool
) -> None:
    for number in range(1, 60):
        bundle = Bundle.create(tmp_path / f"run-{number}", {})
        bundle.append("kept.log", b"kept", status="ok", step="D1")
        before = bundle.lines()
        raised = False
        with watched(failing(number, error, lasting, at)):
            try:
                bundle.append("lost.log", b"bytes", status="ok", step="D1")
            except OSError as exc:
                assert exc.errno == error
                raised = True
        lines, torn = bundle.read()
        assert lines[:2] == before
        if raised and not lasting:
            assert not torn and lines == before, "the error was said, so there is no line"
        if not raised:
            assert lines[2]["name"] == "lost.log"
        Bundle(bundle.folder).recover()
        Bundle(bundle.folder).append("after.log", b"", status="ok", step="D1")
        names = [line["name"] for line in check_chain(bundle.folder)]
        if not lasting and error != errno.EIO:
            assert names[2:] == ["after.log"] if raised else names[2:] == ["lost.log", "after.log"]
        if not raised and number > 2:
            break
    assert 3 <= number < 59


def test_J1_a_line_that_the_disk_refused_leaves_no_file(bundle: Bundle) -> None:
    manifest_writes = 0

    def see(name: str, args: tuple[Any, ...], call: Callable[..., Any]) -> Any:
        nonlocal manifest_writes
        if name == "fsync" and name_of(args[0]) == "manifest.jsonl":
            manifest_writes += 1
            if manifest_writes == 1:
                raise OSError(errno.EIO, "Input/output error")
        return call()

    with watched(see), pytest.raises(OSError, match="Input/output error"):
        bundle.append("x.log", b"data", status="ok", step="D1")
    check_chain(bundle.folder)
    assert manifest_writes == 2, "the line was taken back, durably"


def test_J1_the_first_error_is_the_one_that_is_said(bundle: Bundle) -> None:
    def see(name: str, args: tuple[Any, ...], call: Callable[..., Any]) -> Any:
        if name in ("write", "ftruncate") and name_of(args[0]) == "manifest.jsonl":
            number = errno.ENOSPC if name == "write" else errno.EIO
            raise OSError(number, os.strerror(number))
        return call()

    with watched(see), pytest.raises(OSError, match="No space left"):
        bundle.append("x.log", b"data", status="ok", step="D1")
    bundle.recover()
    assert [line["name"] for line in check_chain(bundle.folder)] == ["run.json", "x.log", "continued.json"]


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_J1_an_error_at_every_change_of_the_recovery(tmp_path: Path, lasting: bool) -> None:
    for number in range(1, 100):
        bundle = Bundle.create(tmp_path / f"run-{number}", {})
        (bundle.folder / "20260131T120000Z_healthz.log").write_bytes(b"whole")
        (bundle.folder / "20260131T120001Z_verdict.json").write_bytes(b"never given")
        with bundle.manifest.open("ab") as file:
            file.write(b'{"torn": "xyz')
        raised = False
        with watched(failing(number, errno.EIO, lasting, ("write", "fsync", "link", "unlink", "ftruncate"))):
            try:
                bundle.recover()
            except OSError:
                raised = True
        Bundle(bundle.folder).recover()
        lines = check_chain(bundle.folder)
        contents = [Bundle(bundle.folder).data(line) for line in lines]
        assert contents.count(b"whole") == 1 and b"never given" in contents
        told = [
            json.loads(each) for each, line in zip(contents, lines, strict=True) if line["name"] == "continued.json"
        ]
        assert any(each["torn_line"] == '{"torn": "xyz' for each in told)
        if not raised and number > 20:
            break
    assert 20 < number < 99


def test_J1_a_limit_of_the_system_in_the_middle_of_a_line(bundle: Bundle) -> None:
    """RLIMIT_FSIZE: the kernel itself writes the first 20 bytes of the line and refuses the rest."""
    import resource

    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = bundle.manifest.stat().st_size + 20
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            bundle.append("x.log", b"data", status="ok", step="D1")
        except OSError as exc:
            os._exit(exc.errno or 0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EFBIG
    assert [line["name"] for line in check_chain(bundle.folder)] == ["run.json"]


# What is adopted, what stays foreign
