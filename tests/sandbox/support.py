"""What the sandbox's tests share: a sandbox in a folder of its own, clients, small images, waiting."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = CHECKOUT / ".sandbox" / "venv" / "bin" / "python"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
# Serves its own name on port 5000 and says what it was given; SIGTERM is left to end it.
SERVER = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"name": NAME, "env": dict(os.environ)}).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
print("started", NAME, flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 5000), Handler).serve_forever()
"""


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that others can reach, as PostgreSQL's user must under root: pytest shuts its own at each start."""
    folder = Path(tempfile.mkdtemp(prefix="papyrus-sandbox-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def until[Result](look: Callable[[], Result], what: str, seconds: float = 30) -> Result:
    """The first true result of `look`; fails with its last result when there is none in time."""
    began = time.monotonic()
    while True:
        result = look()
        if result:
            return result
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"{what}: not within {seconds} s; last seen: {result!r}")
        time.sleep(min(0.1 + waited / 20, 0.5))


@contextlib.contextmanager
def refused(code: str, match: str = "", status: int | None = None) -> Iterator[None]:
    """The call within is refused by this error code, with a message that holds `match`."""
    with pytest.raises(ClientError) as caught:
        yield
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    assert match in answer["Error"]["Message"]
    assert status in (None, answer["ResponseMetadata"]["HTTPStatusCode"])


@dataclass
class Sandbox:
    """A sandbox with its state in `root`; started and ended by its own command line."""

    root: Path
    facts: dict[str, Any] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict)

    def run(self, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PAPYRUS_SANDBOX_ROOT": str(self.root)}
        done = subprocess.run(
            [str(PYTHON), "-m", "sandbox", command],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        if check and done.returncode:
            log = self.root / ".sandbox" / "sandbox.log"
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}")
        return done

    def up(self) -> Sandbox:
        self.run("up")
        self.facts = json.loads((self.root / ".sandbox" / "sandbox.json").read_text())
        self._clients.clear()
        return self

    def down(self) -> None:
        self.run("down")

    @property
    def endpoint(self) -> str:
        return str(self.facts["endpoint"])

    def client(self, service: str) -> Any:
        """The same one each time: to make one costs as much as several requests."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.endpoint,
                region_name=self.facts["region"],
                aws_access_key_id=self.facts["access_key_id"],
                aws_secret_access_key=self.facts["secret_access_key"],
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._clients[service]

    def http(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body) of a plain request to the gateway."""
        request = urllib.request.Request(self.endpoint + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def calls(self, after: int = 0) -> list[dict[str, Any]]:
        document: list[dict[str, Any]] = json.loads(self.http("GET", f"/_sandbox/calls?after={after}")[2])
        return document

    def faults(self, *faults: dict[str, Any]) -> None:
        status, _, body = self.http("PUT", "/_sandbox/faults", json.dumps(list(faults)).encode())
        assert status == 200, body

    @contextlib.contextmanager
    def switched(self, **switches: Any) -> Iterator[None]:
        """Within it these switches are set (sandbox.switches), afterwards none."""
        status, _, body = self.http("PUT", "/_sandbox/switches", json.dumps(switches).encode())
        assert status == 200, body
        try:
            yield
        finally:
            self.http("DELETE", "/_sandbox/switches")

    def push(
        self,
        repository: str,
        tag: str,
        files: dict[str, str],
        command: list[str],
        **config: Any,
    ) -> str:
        """Push an image of these files over the registry's API; its reference by digest."""
        ecr = self.client("ecr")
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        headers = {"Authorization": f"Basic {token}"}
        layer = make_layer(files)
        image_config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": command, "WorkingDir": "/app", **config},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
        blobs = [json.dumps(image_config).encode(), layer]
        for blob in blobs:
            status, found, _ = self.http("POST", f"/v2/{repository}/blobs/uploads/", b"", headers)
            assert status == 202
            status, _, body = self.http("PUT", f"{found['location']}?digest={digest(blob)}", blob, headers)
            assert status == 201, body
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": descriptor("application/vnd.oci.image.config.v1+json", blobs[0]),
                "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
            }
        ).encode()
        status, _, body = self.http(
            "PUT", f"/v2/{repository}/manifests/{tag}", manifest, {**headers, "Content-Type": MANIFEST_TYPE}
        )
        assert status == 201, body
        uri = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"]
        return f"{uri}@{digest(manifest)}"


def execution_role(sandbox: Sandbox) -> str:
    """ARN of a role that ECS may assume to start a task, without which Fargate takes no image of ECR."""
    iam, name = sandbox.client("iam"), "tests-execution"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ],
    }
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def make_layer(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


@dataclass
class Network:
    vpc: str
    subnets: list[str]
    group: str

    @property
    def configuration(self) -> dict[str, Any]:
        return {"awsvpcConfiguration": {"subnets": self.subnets, "securityGroups": [self.group]}}


def make_network(sandbox: Sandbox, third_octet: int = 10) -> Network:
    ec2 = sandbox.client("ec2")
    cidr = sandbox.facts["vpc_cidr"]
    prefix = ".".join(cidr.split(".")[:2])
    vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"{prefix}.{third_octet + n}.0/24", AvailabilityZone=f"{sandbox.facts['region']}{zone}"
        )["Subnet"]["SubnetId"]
        for n, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="tasks", Description="tasks", VpcId=vpc)["GroupId"]
    return Network(vpc, subnets, group)


def children_of_state(state: Path) -> list[int]:
    """Pids of processes that the sandbox with this state folder started, found without asking it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(state) in words:
                found.append(int(entry.name))
    return found
