"""What the preflight must catch before anything is created: right row NG, its cause in one line, complete bundle.

All cases are hosts of one run: each is refused for its own reason, whatever becomes of the others.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import Smoke, left_behind, run_smoke
from .services import CLUSTER, SERVICE, Services, until
from .together import RunningTogether

NAMELESS = """\
all:
  hosts:
    nameless:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""
APP_FACTORY = "app/papyrus/factory.py"
DRIFTED = {"host": "127.0.0.9", "port": 5433, "dbname": "elsewhere", "username": "somebody"}
PASSWORD = "not-the-password-at-all"
CIDRS = {
    "everybody": ["0.0.0.0/0"],
    "everybody6": ["::/0"],
    "and-everybody": ["10.0.0.1/32", "0.0.0.0/0"],
    "nobody": [],
}


def app_copy(folder: Path, old: str, new: str) -> dict[str, str]:
    """A copy of the app's source with one change in its factory. Returns inventory variables."""
    shutil.copytree(harness.CHECKOUT / "app", folder / "app", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    factory = folder / APP_FACTORY
    text = factory.read_text("utf-8")
    assert old in text, text
    factory.write_text(text.replace(old, new), "utf-8")
    return {"papyrus_app_source": str(folder / "app")}


@contextlib.contextmanager
def subnet_in_the_zone_of_another() -> Iterator[list[str]]:
    """The first subnet of the permanent service, and one more of the same zone."""
    ec2 = harness.client("ec2")
    base = harness.client("ecs").describe_services(cluster=CLUSTER, services=[SERVICE])["services"][0]
    first = ec2.describe_subnets(SubnetIds=base["networkConfiguration"]["awsvpcConfiguration"]["subnets"][:1])[
        "Subnets"
    ][0]
    taken = {subnet["CidrBlock"] for subnet in ec2.describe_subnets()["Subnets"]}
    block = next(
        b for i in range(60, 99) if (b := ".".join(first["CidrBlock"].split(".")[:2]) + f".{i}.0/24") not in taken
    )
    other = ec2.create_subnet(VpcId=first["VpcId"], CidrBlock=block, AvailabilityZone=first["AvailabilityZone"])[
        "Subnet"
    ]["SubnetId"]
    try:
        yield [first["SubnetId"], other]
    finally:
        ec2.delete_subnet(SubnetId=other)


def dying(services: Services) -> dict[str, Any]:
    """A service whose tasks end with 3; one of them has."""
    made = services.service("dying", container={"command": ["python", "-c", "raise SystemExit(3)"]}, wait=False)
    ecs = harness.client("ecs")
    until(
        lambda: ecs.list_tasks(cluster=CLUSTER, serviceName=made["papyrus_service"], desiredStatus="STOPPED")[
            "taskArns"
        ],
        "a stopped task",
    )
    return made


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory, services: Services) -> dict[str, Smoke]:
    """Every case in one run of the playbook."""
    folder = tmp_path_factory.mktemp("preflight")
    future = "from __future__ import annotations"
    wrong_password = services.secret(password=PASSWORD)
    with subnet_in_the_zone_of_another() as subnets:
        cases: dict[str, dict[str, Any]] = {
            "account": {"papyrus_account_id": "999999999999"},
            "blueprint": app_copy(folder / "blueprint", "healthz.blueprint, dbcheck.blueprint)", "healthz.blueprint)"),
            "import": app_copy(folder / "import", future, f"{future}\nimport no_such_module"),
            **{f"drift-{key}": services.secret(**{key: value}) for key, value in DRIFTED.items()},
            "password-direct": wrong_password | {"papyrus_db_login": "direct"},
            "password-exec": wrong_password | {"papyrus_db_login": "exec"},
            "no-secret": {"papyrus_secret_id": "papyrus/prd/none"},
            "no-json": services.raw_secret("host=db password=hush-hush"),
            "force-ssl": services.database(force_ssl="0"),
            "cidr": services.database(extra_cidr="10.0.0.0/8"),
            "exec": services.service("exec", execute_command=False),
            "none": services.service("none", desired=0),
            "dying": dying(services),
            "one-zone": {"papyrus_alb_subnet_ids": subnets},
            **{name: {"papyrus_alb_ingress_cidrs": cidrs} for name, cidrs in CIDRS.items()},
            "long-name": {"papyrus_tag_prefix": "a-prefix-that-is-far-too-long"},
        }
        return RunningTogether(folder, cases).smokes()


def refused(smoke: Smoke, row: str, *words: str) -> None:
    """Require: exit code, FAILED, this row NG with these words, in the terminal too, nothing created."""
    assert smoke.exit_code not in (0, 4), smoke.output[-4000:]
    assert smoke.verdict["result"] == "FAILED"
    found = smoke.rows[row]
    assert found["status"] == "ng", smoke.rows
    for word in words:
        assert word in found["reason"], found["reason"]
    assert found["reason"] in smoke.output.replace('\\"', '"')
    assert "\n" not in found["reason"]
    assert left_behind(smoke.run_id) == []
    assert "terraform_apply.log" not in [line["name"] for line in smoke.lines]
    assert smoke.statement["predicate"]["failedTests"][0].startswith("B preflight.json ")


def ng_rows(smoke: Smoke) -> set[str]:
    """The rows that are NG."""
    return {name for name, row in smoke.rows.items() if row["status"] == "ng"}


def test_B10_wrong_account(refusals: dict[str, Smoke]) -> None:
    refused(refusals["account"], "B10", "999999999999", harness.facts()["account_id"])
    assert ng_rows(refusals["account"]) == {"B10"}


def test_B1_blueprint_not_registered(refusals: dict[str, Smoke]) -> None:
    refused(refusals["blueprint"], "B1", "/dbcheck")
    assert ng_rows(refusals["blueprint"]) == {"B1"}


def test_B1_import_error(refusals: dict[str, Smoke]) -> None:
    refused(refusals["import"], "B1", "ModuleNotFoundError", "no_such_module")


@pytest.mark.parametrize("key", DRIFTED)
def test_B2_secret_drifted(refusals: dict[str, Smoke], key: str) -> None:
    refused(refusals[f"drift-{key}"], "B2", key)


@pytest.mark.parametrize("login", ["direct", "exec"])
def test_B2_password_drifted(refusals: dict[str, Smoke], login: str) -> None:
    smoke = refusals[f"password-{login}"]
    refused(smoke, "B2", "password authentication failed")
    assert PASSWORD not in smoke.output


def test_B2_secret_missing(refusals: dict[str, Smoke]) -> None:
    refused(refusals["no-secret"], "B2", "papyrus/prd/none")


def test_B2_secret_is_not_json(refusals: dict[str, Smoke]) -> None:
    refused(refusals["no-json"], "B2", "JSON")


def test_B4_force_ssl_off(refusals: dict[str, Smoke]) -> None:
    refused(refusals["force-ssl"], "B4", "rds.force_ssl")


def test_B5_database_port_open_to_a_cidr(refusals: dict[str, Smoke]) -> None:
    refused(refusals["cidr"], "B5", "10.0.0.0/8")


def test_B3_exec_off(refusals: dict[str, Smoke]) -> None:
    refused(refusals["exec"], "B3", "enableExecuteCommand")


def test_B7_no_running_task(refusals: dict[str, Smoke]) -> None:
    refused(refusals["none"], "B7", "desired")


def test_B7_task_dying_with_exit_3(refusals: dict[str, Smoke]) -> None:
    refused(refusals["dying"], "B7", "exit code 3")


def test_B8_subnets_in_one_zone(refusals: dict[str, Smoke]) -> None:
    refused(refusals["one-zone"], "B8", "zone")


def wrong_input(smoke: Smoke, *words: str) -> None:
    """Input that must be refused by name, before any question is asked of AWS."""
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    for word in words:
        assert word in smoke.verdict["first_failure"]["cause"], smoke.verdict
        assert word in smoke.output
    assert "preflight.json" not in [line["name"] for line in smoke.lines]
    assert left_behind(smoke.run_id) == []


@pytest.mark.parametrize("cidrs", CIDRS)
def test_C1_the_whole_internet_and_nobody_are_refused(refusals: dict[str, Smoke], cidrs: str) -> None:
    wrong_input(refusals[cidrs], "papyrus_alb_ingress_cidrs")


def test_C1_name_over_32_characters(refusals: dict[str, Smoke]) -> None:
    wrong_input(refusals["long-name"], "papyrus_tag_prefix", "32")


def test_an_empty_variable_file_names_what_is_missing(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory" / "hosts.yml"
    inventory.parent.mkdir()
    inventory.write_text(NAMELESS, "utf-8")
    smoke = run_smoke(tmp_path, {}, "-i", str(inventory.parent))
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    for name in ("papyrus_account_id", "papyrus_region", "papyrus_cluster", "papyrus_alb_ingress_cidrs"):
        assert name in smoke.verdict["first_failure"]["cause"], smoke.verdict
