#!/usr/bin/env python3
"""ecs_task_ip for a service of many tasks: seconds, calls to AWS, memory.

usage: .venv/bin/python bench/task_ips.py [--tasks 2000] [--times 5]

ECS and EC2 are made up on loopback, as this machine runs no 2,000 tasks: it is the module that is measured. Seconds are
from its main to its end; CPU seconds those of its whole process, with its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = 100
CLUSTER = "arn:aws:ecs:us-west-2:123456789012"
WANTED = {"cluster": "many", "service": "many", "container": "app", "port": 5000}
# A module as its action runs it: everything is imported, then the module's main is called.
MODULE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.modules import ecs_task_ip
began = time.monotonic()
try:
    with patch_module_args(json.loads(sys.argv[2])):
        ecs_task_ip.main()
finally:
    with open("/proc/self/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps([time.monotonic() - began, peak]), file=sys.stderr)
"""


def task(number: int) -> dict[str, Any]:
    """A task of Fargate as DescribeTasks shows it."""
    details = {
        "networkInterfaceId": f"eni-{number:017x}",
        "privateIPv4Address": address(number),
        "subnetId": "subnet-1",
    }
    return {
        "taskArn": f"{CLUSTER}:task/many/{number:032x}", "lastStatus": "RUNNING", "desiredStatus": "RUNNING",
        "taskDefinitionArn": f"{CLUSTER}:task-definition/many:7", "enableExecuteCommand": True,
        "availabilityZone": "us-west-2a", "launchType": "FARGATE",
        "platformFamily": "Linux", "platformVersion": "1.4.0",
        "startedAt": 1769860800.0,
        "attachments": [{"type": "ElasticNetworkInterface", "status": "ATTACHED",
                         "details": [{"name": name, "value": value} for name, value in details.items()]}],
        "containers": [{"name": "app", "image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/app@sha256:" + "0" * 64,
                        "imageDigest": "sha256:" + "0" * 64, "lastStatus": "RUNNING",
                        "managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}]}],
    }  # fmt: skip


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def interface(name: str) -> str:
    number = int(name.removeprefix("eni-"), 16)
    return (
        f"<item><networkInterfaceId>{name}</networkInterfaceId><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId>"
        f"<availabilityZone>us-west-2a</availabilityZone><privateIpAddress>{address(number)}</privateIpAddress>"
        "<groupSet><item><groupId>sg-1</groupId><groupName>tasks</groupName></item></groupSet></item>"
    )


class Many:
    """An endpoint with so many tasks; `asked` are the calls that it had."""

    def __init__(self, tasks: int) -> None:
        self.asked: list[str] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = 1 << 16

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                data = source.answer(self.headers.get("X-Amz-Target", "").rpartition(".")[2], body, tasks).encode()
                self.send_response_only(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1" if data[:1] == b"{" else "text/xml")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, operation: str, body: str, tasks: int) -> str:
        self.asked.append(operation or "DescribeNetworkInterfaces")
        if operation == "ListTasks":
            start = int(json.loads(body).get("nextToken") or 0)
            end = min(start + PAGE, tasks)
            more = {"nextToken": str(end)} if end < tasks else {}
            return json.dumps({"taskArns": [f"{CLUSTER}:task/many/{n:032x}" for n in range(start, end)], **more})
        if operation == "DescribeTasks":
            numbers = [int(arn.rpartition("/")[2], 16) for arn in json.loads(body)["tasks"]]
            return json.dumps({"tasks": [task(number) for number in numbers], "failures": []})
        names = [pair.partition("=")[2] for pair in body.split("&") if pair.partition("=")[2].startswith("eni-")]
        found = "".join(interface(name) for name in names)
        named = "DescribeNetworkInterfacesResponse"
        return f"<{named}><networkInterfaceSet>{found}</networkInterfaceSet></{named}>"


def environment(url: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept, "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-west-2", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    print("| tasks | s | CPU s | calls to AWS | peak MiB |")
    print("|---|---|---|---|---|")
    for tasks in sorted({1, 100, given.tasks}):
        many = Many(tasks)
        figures = [measure(many, tasks) for _each in range(given.times)]
        many.server.shutdown()
        seconds, cpu, peak = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"| {tasks} | {seconds:.2f} | {cpu:.2f} | {len(many.asked)} | {peak:.0f} |", flush=True)


def measure(many: Many, tasks: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MiB of one module."""
    many.asked.clear()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [sys.executable, "-c", MODULE, str(CHECKOUT / "collections"), json.dumps(WANTED)],
        env=environment(f"http://127.0.0.1:{many.server.server_port}"),
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = json.loads(ran.stdout)
    if answer.get("failed") or len(answer["targets"]) != tasks:
        raise SystemExit(ran.stdout[:3000] + ran.stderr)
    took, peak = json.loads(ran.stderr.splitlines()[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, peak / 1024


if __name__ == "__main__":
    main()
