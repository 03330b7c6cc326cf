"""H2: every variable of the inventory has a type, is refused by name before anything is created, and is explained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir())
PLAYBOOKS = sorted((COLLECTION / "playbooks").glob("*.yml"))
VARIABLE = re.compile(r"\bpapyrus_[a-z0-9_]+\b(?!\.(?:log|cast))")

TEARDOWN = {("temporary_alb", "remove"), ("run", "failed"), ("run", "close")}
"""Entry points of `rescue` and `always`: nothing may keep them from being run."""

ELSEWHERE = {
    # of a temporary ALB, which only some runs have: their preflight, or the drill's first look, asks for them
    "run": {
        "papyrus_vpc_id", "papyrus_alb_subnet_ids", "papyrus_port", "papyrus_alb_scheme", "papyrus_alb_ingress_cidrs",
        "papyrus_alb_certificate_arn", "papyrus_alb_log_bucket", "papyrus_alb_health_check", "papyrus_alb_stack",
        "papyrus_tasks_sg_id",
    },
    # the default name of a user, not a variable
    "stacks": {"papyrus_admin"},
}  # fmt: skip

SMOKE = ["app_log", "binding", "database_proof", "probes", "revision", "rollout", "run", "running", "temporary_alb"]
LATER = {
    "papyrus_signer",  # checked when the run is opened
    "papyrus_timestamp_url",
    "papyrus_trace_file",
}


def specs(role: str) -> dict[str, dict[str, Any]]:
    """The entry points of a role as meta/argument_specs.yml has them."""
    content = yaml.safe_load((COLLECTION / "roles" / role / "meta" / "argument_specs.yml").read_text("utf-8"))
    found: dict[str, dict[str, Any]] = content["argument_specs"]
    return found


def options(role: str) -> dict[str, dict[str, Any]]:
    """Every option of any entry point."""
    return {name: option for entry in specs(role).values() for name, option in entry["options"].items()}


def used(paths: list[Path]) -> set[str]:
    return {name for path in paths for name in VARIABLE.findall(path.read_text("utf-8"))}


def sources(role: str) -> list[Path]:
    return [
        path for part in ("defaults", "tasks", "vars") for path in (COLLECTION / "roles" / role / part).glob("*.yml")
    ]


def imported() -> Iterator[tuple[str, str]]:
    """Role and entry point of everything that a playbook or a role imports or includes by the collection's name."""
    for path in [*PLAYBOOKS, *(path for role in ROLES for path in sources(role))]:
        text = path.read_text("utf-8")
        for role, entry in re.findall(r"name: papyrus\.ops\.(\w+)\n(?:\s+tasks_from: (\w+))?", text):
            if role in ROLES:
                yield role, entry or "main"


def leaves(name: str, option: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """An option and all that is below it."""
    yield name, option
    for below, each in option.get("options", {}).items():
        yield from leaves(f"{name}.{below}", each)


def test_H2_every_entry_point_has_its_arguments() -> None:
    asked = set(imported())
    assert len(asked) > 20
    missing = {(role, entry) for role, entry in asked if entry not in specs(role)}
    # Single tasks of `stacks` that `monitor` uses as if they were its own.
    assert missing == {("stacks", "stage"), ("stacks", "environment")}
    for role in ROLES:
        for entry in specs(role):
            assert (COLLECTION / "roles" / role / "tasks" / f"{entry}.yml").is_file(), (role, entry)


@pytest.mark.parametrize("role", ROLES)
def test_H2_every_variable_that_a_role_uses_has_a_type(role: str) -> None:
    assert used(sources(role)) - set(options(role)) == ELSEWHERE.get(role, set())
    for name, option in options(role).items():
        for path, each in leaves(name, option):
            assert each.get("type"), path
            assert each.get("description") or role == "run", path
            assert each["type"] != "list" or each.get("elements"), path


def test_H2_a_variable_has_one_type_wherever_it_is_used() -> None:
    seen: dict[str, tuple[Any, ...]] = {}
    for role in ROLES:
        for name, option in options(role).items():
            kind = (
                option["type"],
                option.get("elements"),
                option.get("choices"),
                str(sorted(option.get("options", {}))),
            )
            assert seen.setdefault(name, kind) == kind, (role, name)


def test_C6_nothing_keeps_a_teardown_from_being_begun() -> None:
    for role, entry in TEARDOWN:
        assert specs(role)[entry]["options"] == {}, (role, entry)


def test_B_whatever_a_smoke_uses_is_checked_before_anything_is_created() -> None:
    asked = set(options("preflight"))
    for role in SMOKE:
        mine = {name for name in options(role) if name.startswith("papyrus_")}
        assert mine - asked - LATER == set(), role


WRONG: dict[str, Any] = {
    "int": "many",
    "float": "soon",
    "bool": "perhaps",
    "dict": "a text",
    "list": {"a": 1},
}


@pytest.mark.parametrize("role", ROLES)
def test_H2_a_wrong_value_is_refused_by_name(role: str) -> None:
    for entry, spec in specs(role).items():
        for name, option in spec["options"].items():
            wrong = WRONG.get(option["type"]) if "choices" not in option else "neither"
            if wrong is None:  # any text is a text, any path a path
                continue
            said = ArgumentSpecValidator({name: option}).validate({name: wrong}, validate_role_argument_spec=True)
            assert any(name in message for message in said.error_messages), (entry, name)


def documented(name: str) -> bool:
    """Whether the collection's README has the variable: by name, or by its end in a row of names that begin alike."""
    for row in (COLLECTION / "README.md").read_text("utf-8").splitlines():
        if not row.startswith("| `papyrus_"):
            continue
        first, *words = re.findall(r"`(_?[a-z0-9_]+\*?)`", row) or ["none"]
        if name in (first, *words):
            return True
        family = "_".join(first.split("_")[:2]) + "_"
        if name.startswith(family):
            rest = name.removeprefix(family)
            short = [word.removeprefix("_") for word in words if word.startswith("_") or first.endswith("*")]
            if rest in short:
                return True
    return False


def test_H2_every_variable_is_explained_in_the_readme() -> None:
    internal = {"papyrus_admin", "papyrus_preflight_before"}  # no variable; release.yml says it itself
    asked = used([*PLAYBOOKS, *(path for role in ROLES for path in sources(role))]) - internal
    assert len(asked) > 100
    assert sorted(name for name in asked if not documented(name)) == []
    assert not documented("papyrus_unheard_of") and not documented("papyrus_drill_unheard_of")


def played(play: Path, extra: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """A playbook against this machine with further variables."""
    variables = play.with_name("extra.yml")
    variables.write_text(yaml.safe_dump(extra), "utf-8")
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local",
         "-e", f"@{variables}", str(play)],
        cwd=CHECKOUT, env={**os.environ, "ANSIBLE_HOME": str(play.parent), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"AWS_PROFILE": "runner", "TF_CLI_CONFIG_FILE": "/x/rc", "AWS_WEB_IDENTITY_TOKEN_FILE": "/x/token"}, ""),
        ({"AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": ""}, ""),
        ({"AWS_SECRET_ACCESS_KEY": "s3cret-s3cret"}, "AWS_SECRET_ACCESS_KEY"),
        ({"TF_TOKEN_app_example": "s3cret-s3cret", "TF_VAR_db_password": "s3cret\ns3cret"},
         "TF_TOKEN_app_example, TF_VAR_db_password"),
    ],
)  # fmt: skip
def test_H2_a_secret_in_the_environment_of_tasks_is_refused_before_it_is_in_a_command_line(
    tmp_path: Path, given: dict[str, str], refused: str
) -> None:
    play = tmp_path / "play.yml"
    task = "import_role: {name: papyrus.ops.stacks, tasks_from: environment}"
    play.write_text(f"- hosts: localhost\n  gather_facts: false\n  tasks:\n    - {task}\n", "utf-8")
    ended = played(play, {"papyrus_terraform_environment": given})
    assert (ended.returncode != 0) == bool(refused), ended.stdout
    assert f"{refused} must not be in papyrus_aws_environment" in " ".join(ended.stdout.split()) or not refused
    assert "s3cret" not in ended.stdout + ended.stderr


def test_B_a_wrong_value_ends_the_play_before_anything_is_asked(tmp_path: Path) -> None:
    """By Ansible itself: the name, the value, and what it should be; no module has been run."""
    play = tmp_path / "play.yml"
    play.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - block:\n"
        "        - import_role: {name: papyrus.ops.preflight}\n      rescue:\n"
        "        - import_role: {name: papyrus.ops.run, tasks_from: failed}\n"
        "        - debug: {msg: 'CAUSE {{ run_failures[0].cause }}'}\n",
        "utf-8",
    )
    extra = {"papyrus_port": "5000; id", "papyrus_db_paths": ["psql"], "papyrus_probes": [{"name": "a"}]}
    ended = played(play, extra)
    cause = " ".join(ended.stdout.partition("CAUSE ")[2].split())
    assert cause.startswith("the inventory cannot be used: missing required arguments: papyrus_account_id")
    for words in (
        "papyrus_port",
        "5000; id",
        "papyrus_db_paths must be one or more of: cli, app",
        "expect, path found in papyrus_probes",
    ):
        assert words in cause, cause
    assert "Ask everything that a release needs to know" not in ended.stdout
