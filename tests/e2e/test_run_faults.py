"""What goes wrong after the preflight: the cause in one line, everything taken down, a complete bundle.

All cases are hosts of one run: each fails, or passes, by itself, whatever becomes of the others.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from . import harness
from .harness import Smoke, left_behind, processes_of
from .services import Services, until
from .together import RunningTogether

ANSWERING = (
    "import http.server, time\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        {action}\n"
    "        self.send_response({status}); self.end_headers()\n"
    "http.server.ThreadingHTTPServer(('0.0.0.0', 5000), Handler).serve_forever()\n"
)


def answering(status: int, action: str = "pass") -> dict[str, Any]:
    """Members of a container whose every answer has this status."""
    return {"command": ["python", "-c", ANSWERING.format(status=status, action=action)], "healthCheck": None}


def failed(smoke: harness.Smoke, *words: str) -> None:
    """Require: exit code, FAILED with these words in the first cause and in the terminal, nothing left, no process."""
    assert smoke.exit_code not in (0, 4), smoke.output[-4000:]
    assert smoke.verdict["result"] == "FAILED"
    cause = smoke.verdict["first_failure"]["cause"]
    for word in words:
        assert word in cause, cause
    assert cause.splitlines()[0][:100] in smoke.output.replace('\\"', '"')
    assert left_behind(smoke.run_id) == []
    assert processes_of(smoke.run_id) == []
    assert smoke.statement["predicate"]["result"] == "FAILED" == smoke.closed["result"]


@contextlib.contextmanager
def fault(operation: str, prefix: str, times: int | None, code: str, message: str) -> Iterator[None]:
    """A fault of ELBv2 that hits only load balancers whose name starts with prefix."""
    match = {"Name": f"{prefix}-*"} if operation.startswith("Create") else {"LoadBalancerArn": f"*/{prefix}-*"}
    harness.add_faults(
        {
            "service": "elbv2",
            "operation": operation,
            "times": times,
            "status": 400,
            "code": code,
            "message": message,
            "match": match,
        }
    )
    try:
        yield
    finally:
        harness.remove_faults(prefix)


HEALTHZ = {
    "h404": (404, "pass", ("404", "/healthz")),
    "h500": (500, "pass", ("500", "/healthz")),
    "hnever": (200, "time.sleep(600)", ("Target.Timeout",)),
}


@contextlib.contextmanager
def group_in_the_way(running: RunningTogether, case: str) -> Iterator[str]:
    """A security group of somebody else that has the name which this run would give its own."""
    running.wait_for(lambda: running.bundle_of(case))
    bundle = running.bundle_of(case)
    assert bundle
    ec2 = harness.client("ec2")
    name = "papyrus-smoke-" + bundle.name.rsplit("-", 1)[1]
    vpc = next(vpc for vpc in ec2.describe_vpcs()["Vpcs"] if vpc["CidrBlock"] == harness.facts()["vpc_cidr"])["VpcId"]
    group: str = ec2.create_security_group(GroupName=name, Description="not ours", VpcId=vpc)["GroupId"]
    try:
        yield group
    finally:
        ec2.delete_security_group(GroupId=group)


@dataclass
class Faulty:
    """The runs by their case, and the foreign security group, which was there until they had ended."""

    smokes: dict[str, Smoke]
    foreign: str
    survived: bool

    def __getitem__(self, case: str) -> Smoke:
        return self.smokes[case]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, services: Services) -> Iterator[Faulty]:
    """Every case in one run of the playbook. What a failed teardown has left is there until the last test."""
    soon = {"papyrus_alb_healthy_timeout": 45}
    database = services.database()
    without_arn = {key: value for key, value in database.items() if key != "arn"}
    cases: dict[str, dict[str, Any]] = {
        **{
            kind: services.service(kind, container=answering(status, action)) | soon
            for kind, (status, action, _words) in HEALTHZ.items()
        },
        "no-rule": {"papyrus_tasks_sg_id": None} | soon,
        "no-database": services.service("nodb", secret=database["arn"]) | without_arn,
        "apply-fails": {"papyrus_tag_prefix": "tapply"},
        "destroy-once": {"papyrus_tag_prefix": "tonce"},
        "destroy-always": {"papyrus_tag_prefix": "talways"},
        "foreign": {},
    }
    full = "The maximum number of load balancers has been reached"
    with (
        fault("CreateLoadBalancer", "tapply", None, "TooManyLoadBalancers", full),
        fault("DeleteLoadBalancer", "tonce", 1, "OperationNotPermitted", "Planted once"),
        fault("DeleteLoadBalancer", "talways", None, "OperationNotPermitted", "Planted for ever"),
    ):
        running = RunningTogether(tmp_path_factory.mktemp("faults"), cases)
        with group_in_the_way(running, "foreign") as group:
            running.wait_for_task("Wait for the temporary ALB")
            harness.client("rds").stop_db_instance(DBInstanceIdentifier=database["papyrus_db_instance"])
            smokes = running.smokes()
            found = harness.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    yield Faulty(smokes, group, [each["Description"] for each in found] == ["not ours"])
    by_hand(left_behind(smokes["destroy-always"].run_id))


@pytest.mark.parametrize("kind", HEALTHZ)
def test_C5_healthz_answers_wrong(faulty: Faulty, kind: str) -> None:
    failed(faulty[kind], *HEALTHZ[kind][2])


def test_C3_without_the_ingress_rule_the_target_times_out(faulty: Faulty) -> None:
    failed(faulty["no-rule"], "Target.Timeout", "the ingress rule is missing")


def test_D1_database_stopped_after_the_preflight(faulty: Faulty) -> None:
    smoke = faulty["no-database"]
    failed(smoke, "/dbcheck", "503")
    assert "HTTP/1.1 503" in smoke.item("dbcheck.log")
    assert "HTTP/1.1 200" in smoke.item("healthz.log")


def test_C6_apply_fails_after_the_security_group_was_made(faulty: Faulty) -> None:
    failed(faulty["apply-fails"], "aws_lb.this", "TooManyLoadBalancers")


def test_C6_destroy_failing_once_is_retried(faulty: Faulty) -> None:
    smoke = faulty["destroy-once"]
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert "Planted once" in smoke.item("terraform_destroy.log")
    assert left_behind(smoke.run_id) == []


def test_C6_destroy_failing_always_says_what_to_delete_by_hand(faulty: Faulty) -> None:
    smoke = faulty["destroy-always"]
    left = left_behind(smoke.run_id)
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    assert smoke.verdict["failed_destroy"]
    assert smoke.statement["predicate"]["failedTests"][:2] == ["C6 run C6", "C6 terraform_destroy.log C6"]
    balancer = next(name for name in left if ":loadbalancer/" in name)
    assert "delete-load-balancer" in smoke.output
    assert balancer in smoke.output
    by_hand(left)
    assert left_behind(smoke.run_id) == []


def test_C8_a_foreign_security_group_of_the_same_name_is_reported_and_survives(faulty: Faulty) -> None:
    smoke = faulty["foreign"]
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    assert f"papyrus-smoke-{smoke.run_id.rsplit('-', 1)[1]}" in smoke.verdict["first_failure"]["cause"]
    assert faulty.survived and left_behind(smoke.run_id) == []  # it alone was left, and is deleted now
    assert processes_of(smoke.run_id) == []


def by_hand(left: list[str]) -> None:
    """Delete what a failed teardown left, as its message tells a person to."""
    elb, ec2 = harness.client("elbv2"), harness.client("ec2")
    for arn in [name for name in left if ":loadbalancer/" in name]:
        elb.delete_load_balancer(LoadBalancerArn=arn)
    for arn in [name for name in left if ":targetgroup/" in name]:
        elb.delete_target_group(TargetGroupArn=arn)
    for rule in [name for name in left if name.startswith("rule of")]:
        group, permission = rule.removeprefix("rule of ").split(": ", 1)
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[json.loads(permission)])
    for group in [name for name in left if name.startswith("sg-")]:
        until(lambda group=group: deleted(ec2, group), f"the interfaces in {group} are gone", 90)


def deleted(ec2: Any, group: str) -> bool:
    """Deletes a security group; not as long as interfaces of the deleted load balancer have it."""
    try:
        ec2.delete_security_group(GroupId=group)
    except ec2.exceptions.ClientError as exc:
        if exc.response["Error"]["Code"] != "DependencyViolation":
            raise
        return False
    return True
