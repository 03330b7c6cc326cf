"""A command on a pseudo-terminal of its own, started and ended as the agent does it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.processes import StartError

if TYPE_CHECKING:
    from sandbox.processes import Process, Processes

# How long a command may live after its terminal has hung up.
HANGUP_SECONDS = 1.0


class Terminal:
    """Lives in one event loop. A hung-up terminal reads as ended."""

    def __init__(self, process: Process, master: int) -> None:
        self._process = process
        self._master = master
        self._closed = False

    @classmethod
    async def start(
        cls, processes: Processes, argv: Sequence[str], env: Mapping[str, str], cwd: Path, name: str
    ) -> Terminal:
        """Raises StartError."""
        master, slave = os.openpty()
        os.set_blocking(master, False)
        try:
            process = await asyncio.to_thread(processes.start, list(argv), env=env, cwd=cwd, name=name, terminal=slave)
        except BaseException as error:
            os.close(master)
            if isinstance(error, OSError):
                raise StartError(f"{name}: {error}") from error
            raise
        finally:
            os.close(slave)
        return cls(process, master)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def read(self, most: int) -> bytes:
        """What the command has written; nothing at its end."""
        while not self._closed:
            try:
                return os.read(self._master, most)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await self._wait(loop.add_reader, loop.remove_reader)
            except OSError:
                # EIO: nobody has the other end open any more.
                break
        return b""

    async def write(self, data: bytes) -> None:
        """As somebody types it; waits while the command reads nothing and the kernel keeps no more."""
        while data and not self._closed:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await self._wait(loop.add_writer, loop.remove_writer)
            except OSError:
                return

    def resize(self, columns: int, rows: int) -> None:
        with contextlib.suppress(OSError, struct.error):
            if not self._closed:
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def kill(self) -> None:
        """SIGKILL to the command alone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Hang up, and kill what does not mind; whatever the command left behind ends with it."""
        if not self._closed:
            self._closed = True
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._master)
            loop.remove_writer(self._master)
            os.close(self._master)
        await asyncio.shield(asyncio.to_thread(self._reap))

    def _reap(self) -> None:
        try:
            self._process.wait(HANGUP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(TimeoutError):
                self._process.kill()

    async def _wait(self, add: Callable[..., None], remove: Callable[..., object]) -> None:
        ready = asyncio.Event()
        add(self._master, ready.set)
        try:
            await ready.wait()
        finally:
            if not self._closed:
                remove(self._master)
