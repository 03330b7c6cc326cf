"""What the preflight must catch before anything is created: right row NG, its cause in one line, complete bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import left_behind, run_smoke
from .services import CLUSTER, SERVICE, Services, until

NAMELESS = """\
all:
  hosts:
    nameless:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""
APP_FACTORY = "app/papyrus/factory.py"


def refused(folder: Path, variables: dict[str, Any], row: str, *words: str) -> harness.Smoke:
    """Run, and require: exit code, FAILED, this row NG with these words, in the terminal too, nothing created."""
    smoke = run_smoke(folder, variables)
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
    return smoke


def ng_rows(smoke: harness.Smoke) -> set[str]:
    """The rows that are NG."""
    return {name for name, row in smoke.rows.items() if row["status"] == "ng"}


def app_copy(folder: Path, old: str, new: str) -> dict[str, str]:
    """A copy of the app's source with one change in its factory. Returns inventory variables."""
    shutil.copytree(harness.CHECKOUT / "app", folder / "app", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    factory = folder / APP_FACTORY
    text = factory.read_text("utf-8")
    assert old in text, text
    factory.write_text(text.replace(old, new), "utf-8")
    return {"papyrus_app_source": str(folder / "app")}


def test_B10_wrong_account(tmp_path: Path) -> None:
    smoke = refused(
        tmp_path, {"papyrus_account_id": "999999999999"}, "B10", "999999999999", harness.facts()["account_id"]
    )
    assert ng_rows(smoke) == {"B10"}


def test_B1_blueprint_not_registered(tmp_path: Path) -> None:
    changed = app_copy(tmp_path, "healthz.blueprint, dbcheck.blueprint)", "healthz.blueprint)")
    assert ng_rows(refused(tmp_path, changed, "B1", "/dbcheck")) == {"B1"}


def test_B1_import_error(tmp_path: Path) -> None:
    changed = app_copy(
        tmp_path, "from __future__ import annotations", "from __future__ import annotations\nimport no_such_module"
    )
    refused(tmp_path, changed, "B1", "ModuleNotFoundError", "no_such_module")


@pytest.mark.parametrize(
    ("key", "value"), [("host", "127.0.0.9"), ("port", 5433), ("dbname", "elsewhere"), ("username", "somebody")]
)
def test_B2_secret_drifted(tmp_path: Path, services: Services, key: str, value: Any) -> None:
    refused(tmp_path, services.secret(**{key: value}), "B2", key)


@pytest.mark.parametrize("login", ["direct", "exec"])
def test_B2_password_drifted(tmp_path: Path, services: Services, login: str) -> None:
    secret = services.secret(password="not-the-password-at-all")
    smoke = refused(tmp_path, secret | {"papyrus_db_login": login}, "B2", "password authentication failed")
    assert "not-the-password-at-all" not in smoke.output


def test_B2_secret_missing(tmp_path: Path) -> None:
    refused(tmp_path, {"papyrus_secret_id": "papyrus/prd/none"}, "B2", "papyrus/prd/none")


def test_B2_secret_is_not_json(tmp_path: Path, services: Services) -> None:
    refused(tmp_path, services.raw_secret("host=db password=hush-hush"), "B2", "JSON")


def test_B4_force_ssl_off(tmp_path: Path, services: Services) -> None:
    refused(tmp_path, services.database(force_ssl="0"), "B4", "rds.force_ssl")


def test_B5_database_port_open_to_a_cidr(tmp_path: Path, services: Services) -> None:
    refused(tmp_path, services.database(extra_cidr="10.0.0.0/8"), "B5", "10.0.0.0/8")


def test_B3_exec_off(tmp_path: Path, services: Services) -> None:
    refused(tmp_path, services.service("exec", execute_command=False), "B3", "enableExecuteCommand")


def test_B7_no_running_task(tmp_path: Path, services: Services) -> None:
    refused(tmp_path, services.service("none", desired=0), "B7", "desired")


def test_B7_task_dying_with_exit_3(tmp_path: Path, services: Services) -> None:
    dying = services.service("dying", container={"command": ["python", "-c", "raise SystemExit(3)"]}, wait=False)
    ecs = harness.client("ecs")
    until(
        lambda: ecs.list_tasks(cluster=CLUSTER, serviceName=dying["papyrus_service"], desiredStatus="STOPPED")[
            "taskArns"
        ],
        "a stopped task",
    )
    refused(tmp_path, dying, "B7", "exit code 3")


def test_B8_subnets_in_one_zone(tmp_path: Path) -> None:
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
        refused(tmp_path, {"papyrus_alb_subnet_ids": [first["SubnetId"], other]}, "B8", "zone")
    finally:
        ec2.delete_subnet(SubnetId=other)


def wrong_input(folder: Path, variables: dict[str, Any], *words: str) -> None:
    """Run with input that must be refused by name, before any question is asked of AWS."""
    smoke = run_smoke(folder, variables)
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    for word in words:
        assert word in smoke.verdict["first_failure"]["cause"], smoke.verdict
        assert word in smoke.output
    assert "preflight.json" not in [line["name"] for line in smoke.lines]
    assert left_behind(smoke.run_id) == []


@pytest.mark.parametrize("cidrs", [["0.0.0.0/0"], ["::/0"], ["10.0.0.1/32", "0.0.0.0/0"], []])
def test_C1_the_whole_internet_and_nobody_are_refused(tmp_path: Path, cidrs: list[str]) -> None:
    wrong_input(tmp_path, {"papyrus_alb_ingress_cidrs": cidrs}, "papyrus_alb_ingress_cidrs")


def test_C1_name_over_32_characters(tmp_path: Path) -> None:
    wrong_input(tmp_path, {"papyrus_tag_prefix": "a-prefix-that-is-far-too-long"}, "papyrus_tag_prefix", "32")


def test_an_empty_variable_file_names_what_is_missing(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory" / "hosts.yml"
    inventory.parent.mkdir()
    inventory.write_text(NAMELESS, "utf-8")
    smoke = run_smoke(tmp_path, {}, "-i", str(inventory.parent))
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    for name in ("papyrus_account_id", "papyrus_region", "papyrus_cluster", "papyrus_alb_ingress_cidrs"):
        assert name in smoke.verdict["first_failure"]["cause"], smoke.verdict
