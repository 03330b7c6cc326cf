"""Runs the smoke playbook as a person would, and looks at what it left: output, bundle, AWS."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

CHECKOUT = Path(__file__).resolve().parents[2]
SANDBOX_ROOT = Path(os.environ.get("PAPYRUS_SANDBOX_ROOT", CHECKOUT))
PLAYBOOK = CHECKOUT / ".venv" / "bin" / "ansible-playbook"
LOST_IN_A_FORK = "Exception ignored in"
"""CPython drops what a handler raises while it runs the hooks of os.fork(), and says so on stderr."""


def facts() -> dict[str, Any]:
    """What the running local AWS says of itself (sandbox.json)."""
    result: dict[str, Any] = json.loads((SANDBOX_ROOT / ".sandbox" / "sandbox.json").read_text("utf-8"))
    return result


def client(service: str) -> Any:
    """A boto3 client of the local AWS, independent of everything that is under test."""
    known = facts()
    return boto3.client(
        service,
        endpoint_url=known["endpoint"],
        region_name=known["region"],
        aws_access_key_id=known["access_key_id"],
        aws_secret_access_key=known["secret_access_key"],
    )


def pages(service: str, operation: str, key: str, **arguments: Any) -> list[Any]:
    """Everything that a paginated Describe or List call returns under key."""
    return [
        item for page in client(service).get_paginator(operation).paginate(**arguments) for item in page.get(key, [])
    ]


@dataclass
class Smoke:
    """One finished run of the playbook."""

    exit_code: int
    output: str
    evidence_root: Path
    seconds: float
    bundles: list[Path] = field(default_factory=list)

    @property
    def bundle(self) -> Path:
        """The only bundle of the run."""
        assert len(self.bundles) == 1, (self.bundles, self.output[-3000:])
        return self.bundles[0]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The manifest, checked for its chain on the way."""
        previous, lines = "0" * 64, []
        for number, raw in enumerate((self.bundle / "manifest.jsonl").read_bytes().splitlines()):
            line = json.loads(raw)
            assert (line["seq"], line["prev"]) == (number, previous), line
            content = (self.bundle / line["path"]).read_bytes()
            assert (len(content), sha256(content).hexdigest()) == (line["bytes"], line["sha256"]), line["path"]
            previous = sha256(raw).hexdigest()
            lines.append(line)
        return lines

    def item(self, name: str) -> str:
        """Text of the newest item of that name; the error lists what there is."""
        found = [line for line in self.lines if line["name"] == name]
        assert found, f"no {name} in {[line['name'] for line in self.lines]}"
        return (self.bundle / found[-1]["path"]).read_text("utf-8", errors="replace")

    @property
    def verdict(self) -> dict[str, Any]:
        """verdict.json, which is the last item of a complete bundle."""
        assert self.lines[-1]["name"] == "verdict.json", [line["name"] for line in self.lines]
        result: dict[str, Any] = json.loads(self.item("verdict.json"))
        return result

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of the preflight by id."""
        return {row["id"]: row for row in json.loads(self.item("preflight.json"))["rows"]}

    @property
    def statement(self) -> dict[str, Any]:
        """What was signed, by the local AWS's key for evidence."""
        return self.statement_by(Path(facts()["signing_public_key"]).read_bytes())

    def statement_by(self, pem: bytes) -> dict[str, Any]:
        """What was signed, after sums, signature and subjects were checked without the product's code."""
        sums = subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
            cwd=self.bundle, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert sums.returncode == 0, sums.stdout + sums.stderr
        envelope = json.loads((self.bundle / "attestation.dsse.json").read_bytes())
        kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        key, signature = load_pem_public_key(pem), base64.b64decode(envelope["signatures"][0]["sig"])
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        else:
            assert isinstance(key, Ed25519PublicKey)
            key.verify(signature, signed)
        statement: dict[str, Any] = json.loads(payload)
        subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        for name in ("manifest.jsonl", "SHA256SUMS"):
            assert subjects[name] == sha256((self.bundle / name).read_bytes()).hexdigest(), name
        assert statement["predicate"]["result"] == self.verdict["result"]
        return statement

    @property
    def closed(self) -> dict[str, Any]:
        """The end of the run in its ledger, a folder; it has the hash of the attestation."""
        path = self.evidence_root.parent / "ledger" / f"{self.run_id}.closed.json"
        entry: dict[str, Any] = json.loads(path.read_bytes())
        assert entry["attestation_sha256"] == sha256((self.bundle / "attestation.dsse.json").read_bytes()).hexdigest()
        return entry

    @property
    def sealed(self) -> dict[str, Any]:
        """Who sealed how, as the statement says it."""
        return seal_of(self.statement)

    @property
    def run_id(self) -> str:
        """The run's id, which is the name of its folder."""
        return self.bundle.name


class RunningSmoke:
    """A run of the playbook under way, with its output in a file."""

    guarded = True
    """Whether the run has a guard, which ends it and removes its private folder."""

    def __init__(
        self,
        folder: Path,
        variables: dict[str, Any],
        arguments: tuple[str, ...] = (),
        playbook: str = "playbooks/alb_smoke.yml",
        environment: Mapping[str, str] | None = None,
        launcher: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.evidence_root = folder / "runs"
        defaults = {"papyrus_evidence_root": str(self.evidence_root), "papyrus_ledger": str(folder / "ledger")}
        self.extra = folder / "variables.json"
        self.extra.write_text(json.dumps(defaults | variables), "utf-8")
        self.log = folder / "output.log"
        source = CHECKOUT / playbook
        self.guarded = not source.is_file() or "start_guard: false" not in source.read_text("utf-8")
        self.started = time.monotonic()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ANSIBLE_"))}
        inherited |= {
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(folder / "ansible"),
            "PAPYRUS_SANDBOX_ROOT": str(SANDBOX_ROOT),
        }
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*launcher, str(PLAYBOOK), playbook, "-e", f"@{self.extra}", *arguments],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=inherited | dict(environment or {}),
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What the run has printed so far."""
        return self.log.read_text("utf-8", errors="replace")

    def wait_for(self, condition: Callable[[], object], timeout: float = 150, every: float = 0.1) -> None:
        """Return when the condition, asked each so many seconds, holds; fail when the run ends or the time is up."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"the run ended before what the test waits for:\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"not seen in {timeout} s:\n{self.output[-4000:]}"
            time.sleep(every)

    def wait_for_task(self, name: str, timeout: float = 150) -> None:
        """Return when the playbook has begun the task whose title contains name."""
        title, read = re.compile(rb"^TASK \[.*" + re.escape(name.encode()), re.MULTILINE), 0

        def begun() -> bool:
            nonlocal read
            with self.log.open("rb") as stream:
                stream.seek(read)
                fresh = stream.read()
            read += fresh.rfind(b"\n") + 1  # whole lines are looked at once
            return title.search(fresh) is not None

        self.wait_for(begun, timeout)

    def bundle_folders(self) -> list[Path]:
        """Bundles that have been opened so far."""
        return sorted(self.evidence_root.glob("*/")) if self.evidence_root.is_dir() else []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the controller alone."""
        os.kill(self.process.pid, number)

    def interrupt(self) -> None:
        """Press Ctrl-C as a person does: again when Ansible goes on, as one that arrives during its fork is lost."""
        self.signal(signal.SIGINT)
        deadline = time.monotonic() + 5
        while self.process.poll() is None and time.monotonic() < deadline:
            if LOST_IN_A_FORK in self.output:
                self.signal(signal.SIGINT)
                return
            time.sleep(0.1)

    def end(self, timeout: float = 400) -> Smoke:
        """Wait for the end of the controller and of the run's guard."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        if not self.guarded:  # a playbook of the tests opens a run, and nobody ends it
            for private in (path for bundle in self.bundle_folders() for path in private_folders(bundle.name)):
                shutil.rmtree(private)
        return Smoke(code, self.output, self.evidence_root, time.monotonic() - self.started, self.bundle_folders())

    def end_by_guard(self, timeout: float = 240) -> Smoke:
        """Wait until the guard has completed the bundle of a run whose controller ended early."""
        smoke = self.end(timeout)
        deadline = time.monotonic() + timeout
        while not any('"verdict.json"' in m.read_text("utf-8") for m in self.evidence_root.glob("*/manifest.jsonl")):
            assert time.monotonic() < deadline, f"no verdict from the guard in {timeout} s:\n{self.output[-4000:]}"
            time.sleep(0.2)
        while private_folders(smoke.run_id):  # the last thing that the guard does, after the seal
            assert time.monotonic() < deadline, f"{private_folders(smoke.run_id)} is still there"
            time.sleep(0.2)
        deadline = time.monotonic() + 15
        while processes_of(smoke.run_id) and time.monotonic() < deadline:  # its last words
            time.sleep(0.2)
        return smoke


def seal_of(statement: dict[str, Any]) -> dict[str, Any]:
    """Who sealed how, as a statement says it."""
    [described] = [each for each in statement["predicate"]["configuration"] if each["name"] == "seal"]
    says: dict[str, Any] = described["annotations"]
    return says


def private_folders(run_id: str) -> list[Path]:
    """Run-private folders of a run that are there."""
    roots = {tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", "")} - {""}
    return [found for root in roots for found in Path(root).glob(f"papyrus-{run_id.rsplit('-', 1)[1]}-*")]


def run_smoke(folder: Path, variables: dict[str, Any], *arguments: str, timeout: float = 400) -> Smoke:
    """Run the playbook to its end."""
    return RunningSmoke(folder, variables, arguments).end(timeout)


def left_behind(run_id: str) -> list[str]:
    """What still exists of a run, asked without the product's code: names of its suffix, tags and rule descriptions."""
    suffix = run_id.rsplit("-", 1)[1]
    found = [
        lb["LoadBalancerArn"]
        for lb in pages("elbv2", "describe_load_balancers", "LoadBalancers")
        if suffix in lb["LoadBalancerName"]
    ]
    found += [
        tg["TargetGroupArn"]
        for tg in pages("elbv2", "describe_target_groups", "TargetGroups")
        if suffix in tg["TargetGroupName"]
    ]
    found += [
        eni["NetworkInterfaceId"]
        for eni in pages("ec2", "describe_network_interfaces", "NetworkInterfaces")
        if suffix in eni.get("Description", "")
    ]
    for group in pages("ec2", "describe_security_groups", "SecurityGroups"):
        if suffix in group["GroupName"]:
            found.append(group["GroupId"])
        found += [
            f"rule of {group['GroupId']}: {json.dumps(permission)}"
            for permission in group["IpPermissions"]
            if run_id in json.dumps(permission)
        ]
    return found


def processes_of(run_id: str) -> list[str]:
    """Command lines of processes of a run that are still there (guard, Terraform), by arguments or working folder."""
    suffix, found = run_id.rsplit("-", 1)[1], []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if suffix in command or suffix in os.readlink(folder / "cwd"):
                found.append(f"{folder.name}: {command}")
        except OSError:
            continue
    return found


def control(method: str, path: str, body: object = None) -> Any:
    """Ask the local AWS's own control interface; returns its JSON answer, None when it has no body. Bytes stay so."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{facts()['endpoint']}/_sandbox/{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        content = answer.read()
        return json.loads(content) if content else None


def add_faults(*rules: dict[str, Any]) -> None:
    """Plant faults beside those that other tests have planted."""
    control("POST", "faults", list(rules))


def remove_faults(mark: str) -> None:
    """Take out the faults in which the mark occurs."""
    control("DELETE", f"faults?text={urllib.parse.quote(mark)}")


def calls(after: int = 0) -> list[dict[str, Any]]:
    """The local AWS's record of requests after number."""
    recorded: list[dict[str, Any]] = control("GET", f"calls?after={after}")
    return recorded


def last_call() -> int:
    """Number of the newest request in that record."""
    return max((int(call["n"]) for call in calls(-1)), default=0)
