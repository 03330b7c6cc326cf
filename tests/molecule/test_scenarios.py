"""Each scenario of molecule passes, and its verify.yml fails on each planted fault (L2).

What a scenario's playbook did is looked at here as well, where tests end to end would run the same playbook again. Two
run the built collection under the older versions of ansible-core that it is for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.e2e import harness, leftovers
from tests.e2e.installed import VERSIONS
from tests.e2e.recorded import changed_app
from tests.e2e.releases import ITEMS, Served, left_nothing
from tests.e2e.services import CLUSTER, Services, unique

from .conftest import Make
from .scenario import Scenario

OLDEST, MIDDLE = VERSIONS[:2]
WHOLE = ("--destroy", "never")
"""Of action "test": converge and verify.yml, which has to pass; it would take the evidence away in the end."""


def changed_byte_is_found(scenario: Scenario, item: Path) -> None:
    """Changes one byte of an item; verify.yml has to say so."""
    kept = item.read_bytes()
    item.write_bytes(kept.replace(b"200", b"500", 1))
    assert item.read_bytes() != kept
    try:
        scenario.fails("is not whole")
    finally:
        item.write_bytes(kept)


def test_L2_default_the_smoke_passes_and_each_fault_is_found(scenario: Make) -> None:
    made = scenario("default", MIDDLE)
    smoke = made.converge(*WHOLE, action="test", papyrus_app_python=sys.executable)
    changed_byte_is_found(made, next(smoke.bundle.glob("*_healthz.log")))
    ec2 = harness.client("ec2")
    vpc = next(vpc for vpc in ec2.describe_vpcs()["Vpcs"] if vpc["CidrBlock"] == harness.facts()["vpc_cidr"])["VpcId"]
    name = "papyrus-smoke-" + smoke.run_id.rsplit("-", 1)[1]
    group = ec2.create_security_group(GroupName=name, Description="planted", VpcId=vpc)["GroupId"]
    try:
        made.fails("is left in AWS")
    finally:
        ec2.delete_security_group(GroupId=group)


def test_L2_F_release_from_a_changed_line_to_a_proof_and_a_service_gone_back_is_found(
    scenario: Make, services: Services, tmp_path: Path
) -> None:
    service, made = services.service("release", breaker=True), scenario("release", OLDEST)
    old, known, key = Served(service), harness.facts(), unique("key")
    before = harness.last_call()
    environment = {
        "AWS_ENDPOINT_URL": known["endpoint"],
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
        "AWS_REGION": known["region"],
    }
    smoke = made.converge(
        *WHOLE,
        action="test",
        **service,
        **changed_app(tmp_path),
        papyrus_app_python=sys.executable,
        papyrus_aws_environment=environment,
        rollout_interval=1,
    )
    assert made.installed and f"included: {made.installed.collections}/ansible_collections/papyrus/ops" in smoke.output
    assert {line["name"] for line in smoke.lines} >= ITEMS
    pushed, revision = (json.loads(smoke.item(name)) for name in ("image_push.json", "taskdef_diff.json"))
    new = Served(service)
    assert new.only(revision["task_definition_arn"]), (new.revisions, new.deployments)
    assert (revision["previous"], new.digests) == (old.revision, {pushed["digest"]})
    assert pushed["digest"] not in old.digests
    release = smoke.verdict["release"]
    assert (release["result"], release["serving"], release["proven"]) == ("deployed", new.revision, True)
    binding = json.loads(smoke.item("binding.json"))
    assert binding["released"] == {"digest": pushed["digest"], "index_digest": "", "task_definition": new.revision}
    assert {link["status"] for chain in binding["chains"] for link in chain["links"]} == {"ok"}
    own = [call["operation"] for call in harness.calls(before) if call["access_key_id"] == key]
    assert (own.count("RegisterTaskDefinition"), own.count("PutImage")) == (1, 1)
    assert left_nothing(smoke)
    harness.client("ecs").update_service(cluster=CLUSTER, service=new.name, taskDefinition=old.revision)
    made.fails(f"{new.name} runs {old.revision}")


@pytest.fixture
def late_interfaces() -> Iterator[float]:
    """A deleted load balancer's interfaces stay, as on AWS."""
    harness.control("PUT", "switches", {**harness.control("GET", "switches"), "alb_interface_seconds": 12})
    yield 12
    harness.control("PUT", "switches", {**harness.control("GET", "switches"), "alb_interface_seconds": 0})


def test_L2_N1_the_sweep_deletes_what_is_expired_and_nothing_else(scenario: Make, late_interfaces: float) -> None:
    made = scenario("sweep")
    sweep = made.converge()
    planted = json.loads((made.folder / "planted.json").read_bytes())
    expired, (young, other) = planted["expired"], planted["kept"]
    there = {ident for ids in leftovers.everything().values() for ident in ids}
    assert {one[kind] for one in (young, other) for kind in ("group", "target_group")} | {planted["tagless"]} <= there
    assert not {expired["balancer"], expired["target_group"], expired["group"]} & there
    lines = {line["name"]: line for line in sweep.lines}
    names = ("alb_sg_leftover.json", "alb_sg_delete.log", "alb_sg_verify_gone.json")
    assert [(lines[name]["status"], lines[name]["step"]) for name in names] == [
        ("info", "C7"), ("info", "C7"), ("ok", "C7"),
    ]  # fmt: skip
    deleted, gone = sweep.item("alb_sg_delete.log"), json.loads(sweep.item("alb_sg_verify_gone.json"))
    assert [line.split()[1] for line in deleted.splitlines()] == [
        "DeleteListener", "DeleteLoadBalancer", "DeleteTargetGroup", "RevokeSecurityGroupIngress",
        "DeleteSecurityGroup",
    ]  # fmt: skip
    assert {each["run_id"] for each in gone["deleted"]} == {expired["run_id"]}
    assert young["run_id"] in {each["run_id"] for each in gone["spared"]} and gone["seconds"] >= late_interfaces
    assert gone["calls"]["DescribeLoadBalancers"] == 2 and gone["calls"]["DeleteLoadBalancer"] == 1
    assert planted["tagless"] in {each["id"] for each in gone["spared"]}
    assert "waits until AWS takes 2 network interfaces" in sweep.output and young["run_id"] in sweep.output
    assert sweep.verdict["result"] in ("PASSED", "WARNED") and sweep.statement and sweep.closed
    made.passes()
    place = leftovers.Place(**planted["place"])
    again = leftovers.leave(leftovers.run(planted["service"]), place, balancer=False)
    made.fails(f"something of an expired run of {planted['service']} is left")
    leftovers.delete(again, place)
    leftovers.delete(leftovers.Left(**other), place)
    made.fails("should have been left alone")
    assert made.run("cleanup")[0] == 0
    assert not (made.folder / "planted.json").exists()


def test_L2_J_the_evidence_verifies_and_a_changed_byte_is_found_twice(scenario: Make) -> None:
    made = scenario("evidence")
    smoke = made.converge(*WHOLE, action="test")
    item = next(smoke.bundle.glob("*_healthz.log"))
    assert b"Bearer" not in item.read_bytes().replace(b"Bearer [", b"")
    changed_byte_is_found(made, item)
    sums, kept = smoke.bundle / "SHA256SUMS", item.read_bytes()
    manifest = smoke.bundle / "manifest.jsonl"
    files = {path: path.read_bytes() for path in (item, sums, manifest)}
    item.write_bytes(kept.replace(b"200", b"500", 1))
    _forge(files, item, manifest, sums)
    made.fails_in_molecule("is tampered")


def _forge(files: dict[Path, bytes], item: Path, manifest: Path, sums: Path) -> None:
    """Makes manifest, chain and sums fit a changed item, as whoever has the disk can: only the signature cannot."""
    new, previous = {sha256(files[item]).hexdigest(): sha256(item.read_bytes()).hexdigest()}, "0" * 64
    forged = []
    for raw in files[manifest].splitlines():
        line = json.loads(raw)
        line |= {"prev": previous, "sha256": new.get(line["sha256"], line["sha256"])}
        text = json.dumps(line, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        forged.append(text + b"\n")
        previous = sha256(text).hexdigest()
    manifest.write_bytes(b"".join(forged))
    new[sha256(files[manifest]).hexdigest()] = sha256(manifest.read_bytes()).hexdigest()
    text = files[sums].decode()
    for old, now in new.items():
        text = text.replace(old, now)
    sums.write_text(text, "utf-8")
