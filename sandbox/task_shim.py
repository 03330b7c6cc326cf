"""Loaded by Python in every task: the task's address is its only one, as in a network namespace of its own.

Binding to all interfaces or to 127.0.0.1 means the task's IP; connecting to 127.0.0.1 means the task itself, save for
the port of the sandbox's gateway (API endpoint, metadata, credentials), which 169.254.170.2 leads to as well. Installed
as a .pth file of the host Python that the base image stands for; does nothing without SANDBOX_TASK_IP.
"""

from __future__ import annotations

import os
import socket
from typing import Any

HERE_4, HERE_6 = ("127.0.0.1", "localhost"), ("::1",)
# Where Fargate serves metadata and credentials to a task; here that is the gateway.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
TASK_ENDPOINT = ("169.254.170.2", 80)
ANY_4, ANY_6 = ("", "0.0.0.0", "<any>"), ("::",)


def translate(address: Any, family: int, ip: str, *, binding: bool, gateway_port: int) -> Any:
    """The address that a socket call is to use instead of `address` (a tuple of host, port, …)."""
    if not isinstance(address, tuple) or len(address) < 2 or family not in (socket.AF_INET, socket.AF_INET6):
        return address
    host, port = address[0], address[1]
    if not binding and (host, port) == TASK_ENDPOINT:
        return ("127.0.0.1", gateway_port)
    if not binding and port == gateway_port:
        return address
    local = HERE_4 + HERE_6 + (ANY_4 + ANY_6 if binding else ("0.0.0.0",))
    if host not in local:
        return address
    return (ip if family == socket.AF_INET else f"::ffff:{ip}", *address[1:])


def install(ip: str, gateway_port: int) -> None:
    bind, connect, connect_ex = socket.socket.bind, socket.socket.connect, socket.socket.connect_ex

    def task_bind(self: socket.socket, address: Any) -> None:
        moved = translate(address, self.family, ip, binding=True, gateway_port=gateway_port)
        if self.family == socket.AF_INET6 and moved is not address:
            self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bind(self, moved)

    def task_connect(self: socket.socket, address: Any) -> None:
        connect(self, translate(address, self.family, ip, binding=False, gateway_port=gateway_port))

    def task_connect_ex(self: socket.socket, address: Any) -> int:
        return connect_ex(self, translate(address, self.family, ip, binding=False, gateway_port=gateway_port))

    for name, function in (("bind", task_bind), ("connect", task_connect), ("connect_ex", task_connect_ex)):
        setattr(socket.socket, name, function)


if "SANDBOX_TASK_IP" in os.environ:
    install(os.environ["SANDBOX_TASK_IP"], int(os.environ.get("SANDBOX_GATEWAY_PORT", "0")))
