"""The only way between a task's own network namespace and this machine's loopback, for tasks that are containers.

The namespace has no interface but its loopback. `inner` runs in it, in a container of ours that all containers of the
task join: it makes sockets there and hands them out over a Unix socket. `outer` runs beside the sandbox, does all the
talking, and listens on the task's address at those ports where a program of the task listens on all addresses.

Run as `python -I -S container_network.py inner|outer IP GATEWAY_PORT`, `outer` in the folder that is `/sandbox` for
`inner`. Both end with each other. Imports nothing of the package: `inner` has the standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

SOCKET, READY = "network.sock", "ready"
# Where Fargate serves a task's credentials. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
TASK_ENDPOINT = ("169.254.170.2", 80)
SIOCSIFADDR, SIOCSIFNETMASK = 0x8916, 0x891C
SO_ORIGINAL_DST, IP_BIND_ADDRESS_NO_PORT = 80, 24
LOOK_SECONDS = 0.1
CHUNK = 65536
Address = tuple[str, int]
# (accepted socket, its peer) → a socket and where it is to be connected.
Serve = Callable[[socket.socket, str], tuple[socket.socket, Address]]


def inner(ip: str, gateway_port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, value in ((SIOCSIFADDR, TASK_ENDPOINT[0]), (SIOCSIFNETMASK, "255.255.255.255")):
            fcntl.ioctl(control, number, struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton(value)))
    there = ["-j", "REDIRECT", "--to-ports", str(gateway_port)]
    for rule in (
        ["-d", ip, "-j", "RETURN"],
        ["-p", "tcp", "-d", f"{'.'.join(ip.split('.')[:2])}.0.0/16", *there],
        ["-p", "tcp", "-d", TASK_ENDPOINT[0], "--dport", str(TASK_ENDPOINT[1]), *there],
    ):
        subprocess.run(["iptables", "-w", "-t", "nat", "-A", "OUTPUT", *rule], check=True)
    listener = socket.create_server(("127.0.0.1", gateway_port), backlog=1024)
    tables = [
        os.open(name, os.O_RDONLY) for name in ("/proc/self/net/tcp", "/proc/self/net/tcp6") if Path(name).exists()
    ]
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(f"/sandbox/{SOCKET}")
        socket.send_fds(link, [b"+"], [listener.fileno(), *tables])
        while link.recv(1):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
                socket.send_fds(link, [b"+"], [made.fileno()])


def listening(table: str, ip: str) -> set[int]:
    """Ports of a /proc/net/tcp (or tcp6) with listeners on all addresses or on the task's: those that others reach."""
    own = f"{struct.unpack('=I', socket.inet_aton(ip))[0]:08X}"
    reachable = {"0" * 8, own, "0" * 32, f"{'0' * 16}FFFF0000{own}"}
    found = set()
    for line in table.splitlines()[1:]:
        address, _, port = line.split()[1].partition(":")
        if line.split()[3] == "0A" and address in reachable:
            found.add(int(port, 16))
    return found


class Outer:
    def __init__(self, ip: str, gateway_port: int, link: socket.socket, received: list[int]) -> None:
        self._ip, self._gateway_port, self._link = ip, gateway_port, link
        self._outgoing = socket.socket(fileno=received[0])
        self._tables = received[1:]
        self._open: dict[int, asyncio.Task[None]] = {}
        self._kept: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        ended = asyncio.Event()
        # Its answers are read where they are asked for; whatever else makes it readable is its end.
        asyncio.get_running_loop().add_reader(self._link, ended.set)
        self._keep(self._accept(self._outgoing, self._go_out))
        while not ended.is_set():
            self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_SECONDS)

    def _look(self) -> None:
        ports: set[int] = set()
        for table in self._tables:
            os.lseek(table, 0, os.SEEK_SET)
            text = b""
            while part := os.read(table, CHUNK):
                text += part
            ports |= listening(text.decode(), self._ip)
        for port in set(self._open) - ports:
            self._open.pop(port).cancel()
        for port in ports - set(self._open):
            try:
                listener = socket.create_server((self._ip, port), backlog=1024)
            except OSError as error:
                print(f"port {port} of {self._ip}: {error}", flush=True)
                continue
            self._open[port] = self._keep(self._accept(listener, self._come_in))

    def _keep(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        return task

    async def _accept(self, listener: socket.socket, serve: Serve) -> None:
        listener.setblocking(False)
        with listener:
            while True:
                with contextlib.suppress(ConnectionError):
                    client, peer = await asyncio.get_running_loop().sock_accept(listener)
                    self._keep(self._serve(client, peer[0], serve))

    async def _serve(self, client: socket.socket, peer: str, serve: Serve) -> None:
        with client:
            client.setblocking(False)
            try:
                other, address = serve(client, peer)
                with other:
                    other.setblocking(False)
                    await asyncio.get_running_loop().sock_connect(other, address)
                    await asyncio.gather(_pump(client, other), _pump(other, client))
            except OSError:
                # Closed with a reset, as by somebody who is not there.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _go_out(self, client: socket.socket, _peer: str) -> tuple[socket.socket, Address]:
        """From the task to where it wanted, as the task's address."""
        try:
            host, port = _unpack(client.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
        except OSError:
            host, port = client.getsockname()
        here = (host, port) == TASK_ENDPOINT
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        made.bind((self._ip, 0))
        return made, ("127.0.0.1", self._gateway_port) if here else (host, port)

    def _come_in(self, client: socket.socket, peer: str) -> tuple[socket.socket, Address]:
        """From outside to the program, which sees who it is: all of 127.0.0.0/8 can be had in its namespace as well."""
        self._link.send(b"+")
        _, received, _, _ = socket.recv_fds(self._link, 1, 1)
        made = socket.socket(fileno=received[0])
        made.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        made.bind((peer, 0))
        return made, (self._ip, client.getsockname()[1])


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while part := await loop.sock_recv(source, CHUNK):
        await loop.sock_sendall(sink, part)
    sink.shutdown(socket.SHUT_WR)


def _unpack(address: bytes) -> Address:
    """A sockaddr_in."""
    port, host = struct.unpack("!2xH4s8x", address)
    return socket.inet_ntoa(host), port


def outer(ip: str, gateway_port: int) -> None:
    # By a relative name: a Unix socket's may have 107 characters.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(SOCKET)
        server.listen(1)
        link, _ = server.accept()
    with link:
        link.settimeout(5)
        _, received, _, _ = socket.recv_fds(link, 1, 3)
        Path(READY).touch()
        asyncio.run(Outer(ip, gateway_port, link, list(received)).run())


if __name__ == "__main__":
    {"inner": inner, "outer": outer}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
