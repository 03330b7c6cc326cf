#!/usr/bin/env python3
"""What a call costs at the local AWS's front door, against the bare emulator; memory after 10,000 calls.

usage: .venv/bin/python bench/front_door.py [--calls 2000] [--memory-calls 10000]

Both run side by side in folders of their own; the same bytes, prepared by botocore, are sent to each in turn over one
kept connection, so that the client's own work is in neither figure. Times are milliseconds a call.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from tests.sandbox.support import PYTHON, Sandbox, open_folder

# A call of each protocol, reads and writes. Writes say the same again, so that both sides keep as much as before.
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("sts", "GetCallerIdentity", {}),
    ("ecs", "ListClusters", {}),
    ("ecs", "CreateCluster", {"clusterName": "bench"}),
    ("ec2", "DescribeSecurityGroups", {}),
    ("elbv2", "DescribeLoadBalancers", {}),
    ("rds", "DescribeDBInstances", {}),
    ("logs", "DescribeLogGroups", {}),
    ("secretsmanager", "ListSecrets", {}),
    ("iam", "ListRoles", {}),
    ("s3", "ListBuckets", {}),
    ("sns", "CreateTopic", {"Name": "bench"}),
]
EMULATOR = """
import asyncio, sys
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
config = Config()
config.bind = [f"127.0.0.1:{sys.argv[1]}"]
config.loglevel = "WARNING"
config.accesslog = None
asyncio.run(serve(app, config))
"""


@dataclass
class Wire:
    """One request, as botocore would send it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def wire(service: str, operation: str, parameters: dict[str, Any], endpoint: str) -> Wire:
    client = boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-west-2",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    caught: list[Wire] = []

    def catch(request: Any, **_: Any) -> None:
        path = request.url.removeprefix(endpoint) or "/"
        body = request.body if isinstance(request.body, bytes) else (request.body or "").encode()
        headers = {
            name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
        }
        caught.append(Wire(request.method, path, headers, body))
        raise StopIteration

    client.meta.events.register(f"before-send.{service}.{operation}", catch)
    names = {value: key for key, value in client.meta.method_to_api_mapping.items()}
    with contextlib.suppress(StopIteration):
        getattr(client, names[operation])(**parameters)
    return caught[0]


class Caller:
    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=30)

    def send(self, request: Wire) -> float:
        """Seconds of one call. Raises RuntimeError when it does not succeed."""
        start = time.perf_counter()
        self._connection.request(request.method, request.path, request.body, request.headers)
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - start
        if answer.status != 200:
            raise RuntimeError(f"{self.endpoint}: {answer.status} {body[:200]!r}")
        return seconds


@contextlib.contextmanager
def bare_emulator() -> Iterator[tuple[str, int]]:
    """(endpoint, pid) of the emulator without anything of ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="papyrus-bench-"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
        "CLOUDTRAIL_RECORDING": "1",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(home / "state"),
        "LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen([str(PYTHON), "-c", EMULATOR, str(port)], env=environment, cwd=home)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def resident(pid: int) -> float:
    """MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def compare(bare: str, ours: str, calls: int) -> None:
    print("| call | bare median | p99 | ours median | p99 | more, median |")
    print("|---|---|---|---|---|---|")
    everything: dict[str, list[float]] = {bare: [], ours: []}
    for service, operation, parameters in CALLS:
        times: dict[str, list[float]] = {bare: [], ours: []}
        senders = [(Caller(endpoint), wire(service, operation, parameters, endpoint)) for endpoint in (bare, ours)]
        for number in range(calls + 50):
            for sender, request in senders:
                seconds = sender.send(request) * 1000
                if number >= 50:
                    times[sender.endpoint].append(seconds)
        for endpoint, found in times.items():
            everything[endpoint] += found
        print(_row(f"{service} {operation}", times[bare], times[ours]), flush=True)
    print(_row("**all**", everything[bare], everything[ours]))


def _row(name: str, bare: list[float], ours: list[float]) -> str:
    middle = statistics.median(bare), statistics.median(ours)
    return (
        f"| {name} | {middle[0]:.2f} | {percentile(bare, 0.99):.2f} | {middle[1]:.2f} | {percentile(ours, 0.99):.2f} "
        f"| {middle[1] - middle[0]:+.2f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="calls of each kind")
    parser.add_argument("--memory-calls", type=int, default=10_000)
    arguments = parser.parse_args()
    with open_folder() as root, bare_emulator() as (bare, bare_pid):
        sandbox = Sandbox(root).up()
        try:
            pid = int(sandbox.facts["pid"])
            start = resident(bare_pid), resident(pid)
            compare(bare, sandbox.endpoint, arguments.calls)
            after_table = resident(bare_pid), resident(pid)
            for endpoint in (bare, sandbox.endpoint):
                sender = Caller(endpoint)
                requests = [wire(*call, endpoint) for call in CALLS]
                began = time.perf_counter()
                for number in range(arguments.memory_calls):
                    sender.send(requests[number % len(requests)])
                spent = time.perf_counter() - began
                rate = arguments.memory_calls / spent
                print(f"{endpoint}: {arguments.memory_calls} calls in {spent:.1f} s, {rate:.0f} a second")
            end = resident(bare_pid), resident(pid)
        finally:
            sandbox.down()
    total = arguments.calls * len(CALLS) + 50 * len(CALLS)
    print(f"\nResident MB at the start, after {total} calls, after {arguments.memory_calls} more:")
    for name, index in (("bare", 0), ("ours", 1)):
        print(f"  {name}: {start[index]:.0f}, {after_table[index]:.0f}, {end[index]:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
