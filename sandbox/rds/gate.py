"""The gate before a database: lets a connection through when the security groups do, else answers nothing for ever.

On AWS the packets of a client that no rule admits are dropped. Here the kernel has already completed the TCP handshake,
so the client's connect() succeeds and everything after it times out; libpq's connect_timeout covers both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from sandbox.task_init import descendants

# As long as Linux itself tries to connect when packets are dropped (tcp_syn_retries = 6).
DROPPED_SECONDS = 127.0
MOST_DROPPED = 512
MOST_RECENT = 64
CHUNK = 64 * 1024

Address = tuple[str, int]
# (address of the client, own address) → whether it may pass, and the address that PostgreSQL shall see.
Judge = Callable[[Address, Address], tuple[bool, str]]


class Gate:
    """Listens on `listen` while open, passes admitted connections on to `target`. Lives in one event loop."""

    def __init__(self, listen: Address, target: Address, judge: Judge) -> None:
        self._listen = listen
        self._target = target
        self._judge = judge
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._dropped = 0

    async def open(self) -> None:
        """Start listening. Raises OSError when the address is taken."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, *self._listen, limit=CHUNK, backlog=256, reuse_address=True
            )

    async def close(self) -> None:
        """Stop listening and break every connection; clients are refused from now on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            # Ended by the other side or by close(): either way nothing is left to say.
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: Address = writer.get_extra_info("peername")[:2]
        admitted, shown_as = self._judge(peer, self._listen)
        if not admitted:
            await self._drop(reader)
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(
            *self._target, limit=CHUNK, local_addr=(shown_as, 0)
        )
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, upstream_writer))
                both.create_task(_pump(upstream_reader, writer))
        except* OSError:
            pass
        finally:
            upstream_writer.transport.abort()

    async def _drop(self, reader: asyncio.StreamReader) -> None:
        if self._dropped >= MOST_DROPPED:
            return
        self._dropped += 1
        try:
            async with asyncio.timeout(DROPPED_SECONDS):
                while await reader.read(CHUNK):
                    pass
        except TimeoutError:
            pass
        finally:
            self._dropped -= 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until the end, which is passed on as well."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class CallerFinder:
    """Which process below this one holds the other end of a loopback connection.

    The kernel names a socket's inode by its addresses (/proc/net/tcp), and a process's files name inodes
    (/proc/<pid>/fd): proc(5). Whoever called lately is asked first, since a server calls again and again.
    """

    def __init__(self) -> None:
        self._recent: dict[int, None] = {}

    def find(self, client: Address, server: Address) -> int | None:
        """Pid of the calling process, None when it is not ours (or has hung up already)."""
        inode = socket_inode(client, server)
        if inode is None:
            return None
        name = f"socket:[{inode}]"
        for pid in [*self._recent, *descendants(os.getpid())]:
            if _holds(pid, name):
                if len(self._recent) >= MOST_RECENT:
                    self._recent.clear()
                self._recent[pid] = None
                return pid
        return None


def environment_of(pid: int, name: str) -> str | None:
    """A variable of the environment that a process was started with."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{name}=".encode()
    return next((entry.removeprefix(prefix).decode() for entry in entries if entry.startswith(prefix)), None)


def socket_inode(local: Address, remote: Address) -> str | None:
    """Inode of the TCP socket with these addresses, seen from its own side."""
    wanted = f"{_hex(local)} {_hex(remote)} "
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines():
            if wanted in line:
                return line.split()[9]
    return None


def _hex(address: Address) -> str:
    # The kernel prints the four bytes as one number of its own byte order.
    number = struct.unpack("=I", socket.inet_aton(address[0]))[0]
    return f"{number:08X}:{address[1]:04X}"


def _holds(pid: int, name: str) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path) == name:
                        return True
    except OSError:
        pass
    return False
