# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a release forces on a task definition, and when two of them mean the same (F2)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._ecs_tasks import TaskProblem
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._taskdef import (
    DefinitionRefused,
    Difference,
    Wanted,
    canonical,
    checked_environment,
    differences,
    registerable,
    revised,
)
from ansible_collections.papyrus.ops.plugins.module_utils._taskdef_diff import as_diff, looks_secret, shown
from ansible_collections.papyrus.ops.tests.unit.taskdef_shapes import IMAGE, OLD_IMAGE, SECRET_ARN, definition

APP = Wanted("app", IMAGE)


def app_of(made: Any) -> dict[str, Any]:
    found: dict[str, Any] = made.definition["containerDefinitions"][0]
    return found


def variables(made: Any) -> list[tuple[str, str]]:
    return [(item["name"], item["value"]) for item in app_of(made)["environment"]]


def with_environment(*pairs: tuple[str, str], **more: Any) -> dict[str, Any]:
    given = definition()
    given["containerDefinitions"][0]["environment"] = [{"name": name, "value": value} for name, value in pairs]
    given["containerDefinitions"][0].update(more)
    return given


def test_F2_only_image_variables_and_health_check_change_and_the_source_is_left_alone() -> None:
    given = definition()
    before = copy.deepcopy(given)
    check = {"command": ["CMD", "true"], "interval": 10, "timeout": None, "retries": None, "startPeriod": None}
    made = revised(given, Wanted("app", IMAGE, {"PGSSLMODE": "verify-full", "NEW": "1"}, check))
    assert given == before
    wanted = copy.deepcopy(before)
    app = wanted["containerDefinitions"][0]
    app["image"], app["healthCheck"] = IMAGE, {"command": ["CMD", "true"], "interval": 10}
    app["environment"] = [
        {"name": "PGSSLMODE", "value": "verify-full"},
        {"name": "LOG_LEVEL", "value": "info"},
        {"name": "NEW", "value": "1"},
    ]
    assert made.definition == wanted


def test_F2_members_that_ecs_adds_are_dropped_and_unknown_ones_kept() -> None:
    answer = {**definition(), "revision": 7, "status": "ACTIVE", "registeredAt": 1.5, "novelty": {"deep": [1]}}
    kept = registerable(answer, read_only=["registeredElsewhere"])
    assert kept == {**definition(), "novelty": {"deep": [1]}}
    assert registerable({**answer, "pidMode": "", "cpu": "0"}) == {**kept, "cpu": "0"}


@pytest.mark.parametrize(
    ("there", "asked", "result"),
    [
        (["require"], "verify-full", "verify-full"),
        (["verify-full"], "require", "verify-full"),
        (["verify-ca"], "require", "verify-ca"),
        (["verify-ca"], "verify-full", "verify-full"),
        (["disable"], "require", "require"),
        (["prefer"], "require", "require"),
        (["verify_full"], "require", "require"),
        ([], "require", "require"),
        (["verify-full", "disable"], "require", "require"),
        (["disable", "verify-full"], "require", "verify-full"),
    ],
)
def test_F2_the_protection_of_the_connection_is_never_made_weaker(there: list[str], asked: str, result: str) -> None:
    made = revised(with_environment(*(("PGSSLMODE", mode) for mode in there)), Wanted("app", "", {"PGSSLMODE": asked}))
    assert variables(made) == [("PGSSLMODE", result)]
    assert made.kept == ({} if result == asked else {"PGSSLMODE": {"asked": asked, "kept": result}})


def test_F2_a_mode_that_libpq_does_not_know_is_refused() -> None:
    with pytest.raises(DefinitionRefused, match="'verifyfull' is none of libpq's modes: disable, .* verify-full"):
        revised(definition(), Wanted("app", "", {"PGSSLMODE": "verifyfull"}))


def test_F2_a_variable_that_stands_twice_stands_once_afterwards_and_others_keep_their_order() -> None:
    given = with_environment(("B", "1"), ("A", "1"), ("B", "2"), ("C", "1"), ("C", "2"))
    assert variables(revised(given, Wanted("app", "", {"B": "3"}))) == [("B", "3"), ("A", "1"), ("C", "1"), ("C", "2")]


def test_F2_null_removes_a_variable_everywhere_and_one_that_is_not_there_changes_nothing() -> None:
    given = with_environment(("A", "1"), ("B", "1"), ("A", "2"))
    assert variables(revised(given, Wanted("app", "", {"A": None}))) == [("B", "1")]
    assert differences(given, revised(given, Wanted("app", "", {"GONE": None})).definition) == []


def test_F2_a_removed_variable_may_still_come_from_a_file() -> None:
    files = [{"type": "s3", "value": "arn:aws:s3:::bucket/app.env"}]
    made = revised(with_environment(("A", "1"), environmentFiles=files), Wanted("app", "", {"A": None}))
    assert app_of(made)["environmentFiles"] == files
    assert "reads environmentFiles, too" in made.warnings[0]


@pytest.mark.parametrize("value", ["plain", None])
def test_F2_a_secret_is_never_touched(value: str | None) -> None:
    with pytest.raises(DefinitionRefused, match="variable DB_PASSWORD of container app is a secret") as refused:
        revised(definition(), Wanted("app", IMAGE, {"DB_PASSWORD": value}))
    assert SECRET_ARN in str(refused.value)


def test_F2_a_variable_in_environment_and_secrets_is_named_for_each_container() -> None:
    with pytest.raises(DefinitionRefused, match="container app has DB_PASSWORD both in environment and in secrets"):
        revised(with_environment(("DB_PASSWORD", "x")), APP)
    given = definition()
    given["containerDefinitions"][1]["secrets"] = [{"name": "MODE", "valueFrom": "arn:aws:ssm:x"}]
    with pytest.raises(DefinitionRefused, match="container proxy has MODE both"):
        revised(given, APP)


def test_F2_a_container_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(TaskProblem, match="no container 'web'; it has: app, proxy"):
        revised(definition(), Wanted("web", IMAGE))
    with pytest.raises(TaskProblem, match=r"several containers \(app, proxy\)"):
        revised(definition(), Wanted(None, IMAGE))


def test_F2_the_only_container_needs_no_name() -> None:
    given = definition()
    del given["containerDefinitions"][1]
    assert revised(given, Wanted(None, IMAGE)).container == "app"


@pytest.mark.parametrize(
    ("changes", "platform", "fits"),
    [
        ({}, "linux/arm64", True),
        ({}, "linux/arm64/v8", True),
        ({}, "linux/amd64", False),
        ({}, "linux/arm", False),
        ({}, "", True),
        ({"runtimePlatform": None}, "linux/amd64", True),
        ({"runtimePlatform": None}, "linux/arm64", False),
        ({"runtimePlatform": None, "requiresCompatibilities": ["EC2"]}, "linux/arm64", True),
        ({"runtimePlatform": {"cpuArchitecture": "RISCV64"}}, "linux/riscv64", True),
        ({"runtimePlatform": {"operatingSystemFamily": "LINUX"}}, "linux/amd64", True),
        ({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}, "linux/amd64", False),
    ],
)
def test_F2_an_image_for_another_processor_is_refused(changes: dict[str, Any], platform: str, fits: bool) -> None:
    given = {**definition(), **changes}
    if fits:
        assert app_of(revised(given, Wanted("app", IMAGE, platform=platform)))["image"] == IMAGE
        return
    with pytest.raises(DefinitionRefused, match=f"the image is for {platform}, but tasks of this definition run on"):
        revised(given, Wanted("app", IMAGE, platform=platform))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"A": True}, "the value of A is true or false, not text: put it in quotes"),
        ({"A": 1.0}, "the value of A is float"),
        ({"A": ["x"]}, "the value of A is list"),
        ({"A=B": "x"}, "'A=B' is no name"),
        ({"": "x"}, "'' is no name"),
        ({"A": "x\0"}, "has a zero byte"),
    ],
)
def test_F2_what_yaml_made_something_else_of_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionRefused, match=words):
        checked_environment(given)


def test_F2_numbers_become_text() -> None:
    assert checked_environment({"PORT": 5000, "NONE": None, "TEXT": ""}) == {"PORT": "5000", "NONE": None, "TEXT": ""}


def filled_in(given: dict[str, Any]) -> dict[str, Any]:
    """The same definition as ECS may give it back: other order, defaults filled in."""
    made = copy.deepcopy(given)
    for container in made["containerDefinitions"]:
        container.setdefault("cpu", 0)
        container.setdefault("essential", True)
        container.update({name: container.get(name) or [] for name in ("mountPoints", "volumesFrom", "systemControls")})
        for name in ("environment", "secrets"):
            container[name] = list(reversed(container.get(name) or []))
        for mapping in container.get("portMappings") or []:
            mapping.update(protocol="tcp", hostPort=mapping["containerPort"])
        if "healthCheck" in container:
            container["healthCheck"] = {"interval": 30, "timeout": 5, "retries": 3, **container["healthCheck"]}
    made["containerDefinitions"].reverse()
    made["volumes"] = [{"host": {}, **volume} for volume in made["volumes"]]
    made.update(cpu="256", memory="2048", placementConstraints=[], requiresCompatibilities=["FARGATE", "EC2"])
    return made


def test_F2_order_and_defaults_are_no_difference() -> None:
    given = {**definition(), "cpu": ".25 vCPU", "memory": "2 GB", "requiresCompatibilities": ["EC2", "FARGATE"]}
    assert differences(given, filled_in(given)) == []
    assert canonical(given) == canonical(filled_in(given))


def test_F2_equally_long_lists_with_other_values_differ() -> None:
    other = definition()
    other["containerDefinitions"][0]["environment"][0]["value"] = "prefer"
    assert differences(definition(), other) == [Difference("app", "environment", "PGSSLMODE", "require", "prefer")]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("cpu",), "512"),
        (("taskRoleArn",), "arn:aws:iam::123456789012:role/other"),
        (("enableFaultInjection",), True),
        (("runtimePlatform", "cpuArchitecture"), "X86_64"),
        (("ephemeralStorage", "sizeInGiB"), 31),
        (("volumes", 0, "name"), "other"),
        (("novelty",), 1),
        (("containerDefinitions", 0, "command"), ["b", "a"]),
        (("containerDefinitions", 0, "essential"), False),
        (("containerDefinitions", 0, "portMappings", 0, "hostPort"), 5001),
        (("containerDefinitions", 0, "portMappings", 0, "protocol"), "udp"),
        (("containerDefinitions", 0, "healthCheck", "interval"), 31),
        (("containerDefinitions", 0, "repositoryCredentials", "credentialsParameter"), "arn:other"),
        (("containerDefinitions", 0, "dependsOn", 0, "condition"), "HEALTHY"),
        (("containerDefinitions", 0, "secrets", 0, "valueFrom"), SECRET_ARN + ":other::"),
        (("containerDefinitions", 0, "logConfiguration", "secretOptions", 0, "valueFrom"), "arn:other"),
        (("containerDefinitions", 0, "environmentFiles", 0, "value"), "arn:aws:s3:::bucket/other.env"),
        (("containerDefinitions", 0, "readonlyRootFilesystem"), True),
        (("containerDefinitions", 0, "privileged"), 1),
        (("containerDefinitions", 1, "image"), "envoy:2"),
        (("containerDefinitions", 1, "novelty"), {"deep": []}),
        (("containerDefinitions", 1, "novelty"), {"deep": [0]}),
    ],
)
def test_F2_every_other_change_is_a_difference(path: tuple[Any, ...], value: Any) -> None:
    other = definition()
    place: Any = other
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    found = differences(definition(), other)
    empty = value == {"deep": []}  # says nothing, as if it were not there
    assert len(found) == (0 if empty else 1), found


def test_F2_containers_that_come_and_go_are_differences() -> None:
    other = definition()
    other["containerDefinitions"][1]["name"] = "envoy"
    assert [(item.container, item.member) for item in differences(definition(), other)] == [
        ("envoy", "container"),
        ("proxy", "container"),
    ]


def test_F2_a_thousand_variables_are_compared_one_by_one() -> None:
    given = with_environment(*((f"V{number:04}", str(number)) for number in range(1000)))
    made = revised(given, Wanted("app", "", {f"V{number:04}": "x" for number in range(0, 1000, 100)}))
    assert len(variables(made)) == 1000
    assert len(differences(given, made.definition)) == 10


@pytest.mark.parametrize(
    "name",
    [
        *(
            "DB_PASSWORD",
            "PGPASSWORD",
            "db_pwd",
            "API_KEY",
            "apiKey",
            "SECRET",
            "GITHUB_TOKEN",
            "PRIVATE_PEM",
            "SIGNING_KEY",
        )
    ]
    + [*("DSN", "SENTRY_DSN", "BASIC_AUTH", "SESSION_COOKIE", "AWS_ACCESS_KEY_ID", "splunk-token", "PIN", "CONN_STR")],
)
def test_F2_names_of_secrets_are_recognised(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["PGSSLMODE", "PGSSLROOTCERT", "DB_HOST", "PORT", "LOG_LEVEL", "MONKEY", "PINNED"])
def test_F2_other_names_are_not(name: str) -> None:
    assert not looks_secret(name)


def test_F2_values_of_secrets_are_masked_and_a_change_still_shows() -> None:
    changes = [
        Difference("app", "environment", "API_KEY", "before-secret", "after-secret"),
        Difference("app", "environment", "TOKEN", ["twice-secret", "twice-secret"], None),
        Difference("app", "environment", "URL", "postgresql://u:hush-hush@h/d", "postgresql://u:sh-hush-hu@h/d"),
        Difference("app", "logConfiguration", "", None, {"options": {"splunk-token": "splunk-secret", "mode": "a"}}),
        Difference("", "tags", "", [{"key": "secret", "value": "tag-secret"}], None),
        Difference("app", "secrets", "", None, [{"name": "P", "valueFrom": SECRET_ARN + ":password::"}]),
        Difference("app", "environment", "PGSSLMODE", "require", "verify-full"),
    ]
    rows = shown(changes, Redactor())
    text = str(rows)
    for value in ("before-secret", "after-secret", "twice-secret", "hush-hush", "splunk-secret", "tag-secret"):
        assert value not in text
    assert rows[0]["before"] != rows[0]["after"]
    assert rows[1]["before"][0] == rows[1]["before"][1]
    assert rows[2]["before"].startswith("postgresql://u:[redacted:password:")
    assert rows[5]["after"] == [{"name": "P", "valueFrom": SECRET_ARN + ":password::"}]
    assert (rows[6]["before"], rows[6]["after"]) == ("require", "verify-full")


def test_F2_the_diff_shows_what_differs_and_nothing_else() -> None:
    made = revised(definition(), Wanted("app", IMAGE, {"PGSSLMODE": "verify-full", "LOG_LEVEL": None, "NEW": "1"}))
    rows = shown(differences(definition(), made.definition), Redactor())
    assert as_diff(rows, "papyrus-task:7", "papyrus-task:8") == {
        "before": {"container app": {"image": OLD_IMAGE, "environment": {"PGSSLMODE": "require", "LOG_LEVEL": "info"}}},
        "after": {"container app": {"image": IMAGE, "environment": {"PGSSLMODE": "verify-full", "NEW": "1"}}},
        "before_header": "papyrus-task:7",
        "after_header": "papyrus-task:8",
    }
