# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several writers of one bundle: processes, threads, clocks, locks, file systems, and what others do to it (J1)."""

from __future__ import annotations

import datetime as dt
import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _evidence, _locks
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, BundleError
from ansible_collections.papyrus.ops.plugins.module_utils._locks import LockTimeout, Staged, write_durable
from evidence_check import check_chain

# The child of a fork runs nothing of the threads by which xdist talks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "run", {"run_id": "x", "service": "svc"}, now=lambda: NOON)


def add(bundle: Bundle, name: str = "x.log", data: bytes = b"data") -> dict[str, Any]:
    return bundle.append(name, data, status="ok", step="D1")


# Processes and threads


def write_many(folder: str, writer: int, count: int) -> None:
    bundle = Bundle(folder)
    for number in range(count):
        data = f"{writer}/{number}".encode()
        bundle.append("burst.log", data, status="info", step="J1", meta={"w": writer, "n": number})


def of_writers(lines: list[dict[str, Any]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for line in lines:
        if "w" in line["meta"]:
            found.setdefault(line["meta"]["w"], []).append(line["meta"]["n"])
    return found


def test_J1_four_writers_of_two_hundred_items(bundle: Bundle) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(bundle.folder), writer, 200)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(120)
        assert process.exitcode == 0
    assert of_writers(check_chain(bundle.folder)) == {writer: list(range(200)) for writer in range(4)}


def test_J1_threads_with_one_bundle_and_with_one_each_by_another_path(bundle: Bundle, tmp_path: Path) -> None:
    """POSIX locks do not keep threads apart, whatever path they came by."""
    (tmp_path / "link").symlink_to(bundle.folder)
    bundles = [bundle, bundle, Bundle(tmp_path / "link"), Bundle(bundle.folder)]
    failures: list[BaseException] = []

    def work(writer: int) -> None:
        try:
            for number in range(40):
                bundles[writer].append("t.log", b"", status="info", step="J1", meta={"w": writer, "n": number})
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert of_writers(check_chain(bundle.folder)) == {writer: list(range(40)) for writer in range(4)}


def test_J1_readers_see_whole_lines_while_others_write(bundle: Bundle) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=write_many, args=(str(bundle.folder), 0, 100))
    writer.start()
    sizes = []
    while writer.is_alive():
        lines, torn = Bundle(bundle.folder).read()
        assert torn == b"" and [line["seq"] for line in lines] == list(range(len(lines)))
        sizes.append(len(lines))
    writer.join()
    assert sizes == sorted(sizes) and len(set(sizes)) > 2


# Clocks


def test_J1_a_clock_that_goes_back_changes_neither_order_nor_chain(tmp_path: Path) -> None:
    hours = [0, 0, -1, 5, -1, 0, 0]
    moments = (NOON + dt.timedelta(hours=each) for each in hours)
    bundle = Bundle.create(tmp_path / "run", {}, now=lambda: next(moments))
    for _each in hours[1:]:
        add(bundle)
    lines = check_chain(bundle.folder)
    assert [line["seq"] for line in lines] == list(range(7))
    assert [int(line["at"][11:13]) - 12 for line in lines] == hours


def test_J1_a_clock_that_stands_still_costs_few_looks_for_a_name(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    looks = 0
    real = os.path.lexists

    def lexists(path: Any) -> bool:
        nonlocal looks
        looks += 1
        return real(path)

    for _each in range(300):
        add(bundle)
    monkeypatch.setattr(os.path, "lexists", lexists)
    paths = {add(bundle)["path"] for _each in range(50)}
    assert len(paths) == 50 and looks / 50 < 6
    assert all(path.startswith("20260131T120000") for path in paths)
    check_chain(bundle.folder)


# Locks


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The file locked by another process."""
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, 2); print(1, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_J1_a_held_lock_ends_the_wait_and_names_the_holder(bundle: Bundle) -> None:
    with held(bundle.manifest) as holder:
        with pytest.raises(LockTimeout, match=rf"another process \(pid {holder.pid}, 'python[^']*'\) for more than 0"):
            add(Bundle(bundle.folder, lock_timeout=0.05))
        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
        with pytest.raises(LockTimeout, match=rf"pid {holder.pid}, .*which is stopped: continue or end it"):
            add(Bundle(bundle.folder, lock_timeout=0.05))
    check_chain(bundle.folder)
    add(bundle)


def test_J1_a_lock_held_by_another_thread_ends_the_wait(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle.folder)
    errors: list[BaseException] = []

    def other() -> None:
        try:
            add(Bundle(tmp_path / "link", lock_timeout=0.05))
        except LockTimeout as exc:
            errors.append(exc)

    with _locks.locked_file(bundle.manifest):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread" in str(errors[0])


# What others do to a bundle


def replaced(bundle: Bundle, how: str) -> None:
    manifest, other = bundle.manifest, bundle.folder.parent / "other"
    if how == "removed":
        manifest.unlink()
    elif how == "folder":
        shutil.move(bundle.folder, other)
    elif how == "emptied":
        os.truncate(manifest, 0)
    elif how == "shortened":
        os.truncate(manifest, manifest.read_bytes().index(b"\n") + 1)
    elif how == "rewritten":
        manifest.write_bytes(manifest.read_bytes().replace(b'"kept.log"', b'"gone.log"'))
    else:
        manifest.rename(other)
        {"link": lambda: manifest.symlink_to(other), "fifo": lambda: os.mkfifo(manifest), "dir": manifest.mkdir}[how]()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("removed", "is not there: no run was opened in this folder, or its bundle was moved or removed"),
        ("folder", "is not there: no run was opened in this folder, or its bundle was moved or removed"),
        ("emptied", "has lost lines that were in it"),
        ("shortened", "has lost lines that were in it"),
        ("rewritten", "has lost lines that were in it"),
        ("link", "is no plain file: it was replaced by something else"),
        ("fifo", "is no plain file: it was replaced by something else"),
        ("dir", "is no plain file: it was replaced by something else"),
    ],
)
def test_J1_a_manifest_that_somebody_changed_takes_no_item(bundle: Bundle, how: str, said: str) -> None:
    add(bundle, "kept.log")
    replaced(bundle, how)
    files = sorted(bundle.folder.iterdir()) if bundle.folder.exists() else []
    with pytest.raises(BundleError, match=said):
        add(bundle)
    assert files == (sorted(bundle.folder.iterdir()) if bundle.folder.exists() else [])
    if how == "emptied":
        with pytest.raises(BundleError, match=r"has no line, and begins with run\.json"):
            add(Bundle(bundle.folder))


def test_J1_a_second_run_json_is_refused(bundle: Bundle) -> None:
    before = (bundle.folder / "run.json").read_bytes()
    with pytest.raises(BundleError, match="a second one was refused"):
        add(bundle, "run.json")
    assert (bundle.folder / "run.json").read_bytes() == before
    check_chain(bundle.folder)


@pytest.mark.parametrize("when", ["while it waits", "while it writes"])
def test_J1_a_manifest_replaced_under_a_writer_is_not_taken_for_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def swap() -> None:
        copy = bundle.folder / "copy"
        copy.write_bytes(bundle.manifest.read_bytes())
        os.replace(copy, bundle.manifest)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int, *rest: Any) -> Any:
            result = function(fd, *rest)
            if os.path.samestat(os.fstat(fd), os.stat(bundle.manifest)):
                swap()
            return result

        return call

    if when == "while it waits":
        monkeypatch.setattr(_locks, "_lock", before(_locks._lock))
    else:
        monkeypatch.setattr(_evidence, "write_all", before(_evidence.write_all))
    before = bundle.manifest.read_bytes()
    with pytest.raises(BundleError, match="was replaced by another file while it was in use"):
        add(bundle)
    if when == "while it waits":
        assert bundle.manifest.read_bytes() == before
        check_chain(bundle.folder)


def test_J1_an_archived_bundle_can_be_read_without_writing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    add(bundle)
    real = os.open

    def read_only(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    assert [line["name"] for line in bundle.lines()] == ["run.json", "x.log"]
    last = bundle.last_line()
    assert last is not None and last["name"] == "x.log" and bundle.head() and not bundle.closed()
    with pytest.raises(OSError, match="Read-only file system"):
        add(bundle)


def test_J1_a_folder_that_may_not_be_written_takes_nothing_and_loses_nothing() -> None:
    """As a user without rights, also when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="papyrus-test-"))
    try:
        folder.chmod(0o755)
        bundle = Bundle.create(folder / "run", {})
        bundle.manifest.chmod(0o666)
        bundle.folder.chmod(0o555)
        child = os.fork()
        if child == 0:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            try:
                add(bundle)
            except PermissionError:
                os._exit(13)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 13
        bundle.folder.chmod(0o755)
        assert [line["name"] for line in check_chain(bundle.folder)] == ["run.json"]
        add(bundle)
    finally:
        shutil.rmtree(folder)


# File systems without hard links


def no_links(error: int) -> Callable[..., None]:
    def link(*_args: Any, **_more: Any) -> None:
        raise OSError(error, os.strerror(error))

    return link


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_J1_a_file_system_without_hard_links(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    monkeypatch.setattr(os, "link", no_links(error))
    paths = {add(bundle, data=b"bytes")["path"] for _each in range(3)}
    assert len(paths) == 3
    check_chain(bundle.folder)
    path = bundle.folder.parent / "entry.json"
    write_durable(path, b"first")
    with pytest.raises(FileExistsError):
        write_durable(path, b"second")
    assert path.read_bytes() == b"first" and list(path.parent.glob(".tmp-*")) == []


def test_J1_other_errors_of_a_link_are_errors(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links(errno.EMLINK))
    with pytest.raises(OSError, match="links"):
        add(bundle)
    check_chain(bundle.folder)


def test_J1_without_hard_links_a_failed_rename_leaves_no_claim(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links(errno.EPERM))
    monkeypatch.setattr(os, "replace", no_links(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        add(bundle)
    check_chain(bundle.folder)


@pytest.mark.parametrize(("error", "good"), [(errno.EINVAL, True), (errno.EOPNOTSUPP, True), (errno.EIO, False)])
def test_J1_a_file_system_that_cannot_sync_folders(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: int, good: bool
) -> None:
    real = os.fsync

    def fsync(fd: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{fd}")) == bundle.folder:
            raise OSError(error, os.strerror(error))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    if good:
        add(bundle)
    else:
        with pytest.raises(OSError, match="Input/output"):
            add(bundle)
    assert len(check_chain(bundle.folder)) == 1 + good


def test_J1_a_name_that_is_not_durable_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(_locks, "sync_folder", failing)
    with pytest.raises(OSError, match="Input/output"):
        write_durable(tmp_path / "x", b"new")
    (tmp_path / "y").write_bytes(b"old")
    with pytest.raises(OSError, match="Input/output"):
        write_durable(tmp_path / "y", b"new", replace=True)
    assert {path.name for path in tmp_path.iterdir()} == {"y"}, "a replacement cannot be taken back"


def test_J1_a_temporary_file_that_was_taken_for_stale_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making it and locking it somebody else's recovery removes it."""
    import fcntl

    real, removed = fcntl.flock, []

    def flock(fd: int, operation: int) -> None:
        if not removed:
            removed.append(1)
            _locks.remove_stale(tmp_path)
            monkeypatch.setattr(fcntl, "flock", real)
            _locks.remove_stale(tmp_path)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with Staged(tmp_path, [b"bytes"]) as staged:
        assert removed
        staged.publish(tmp_path / "x")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"bytes"}
