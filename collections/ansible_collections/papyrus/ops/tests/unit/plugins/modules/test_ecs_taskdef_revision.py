# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it: refusals, result, check mode, diff, and what it never shows (F2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import ecs_taskdef_revision
from ansible_collections.papyrus.ops.tests.unit.ecs_shapes import CLUSTER, SERVICE
from ansible_collections.papyrus.ops.tests.unit.taskdef_shapes import IMAGE, OLD_IMAGE, REPOSITORY, Ecs, arn, definition

FROM_SERVICE = {"cluster": CLUSTER, "service": SERVICE, "container": "app"}
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(ecs: Ecs, check: bool = False, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda wanted: ecs.aws)
        internal = {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_inject_invocation": True}
        arguments = {**options, **internal, "region": "us-west-2"}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ecs_taskdef_revision.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


def test_F2_a_release_makes_one_revision_and_the_second_run_none(run: Any) -> None:
    ecs = Ecs()
    wanted = {**FROM_SERVICE, "image": IMAGE, "environment": {"PGSSLMODE": "verify-full"}}
    first = run(ecs, **wanted)
    assert (first["changed"], first["registered"], first["revision"]) == (True, True, 2)
    assert (first["task_definition_arn"], first["previous"]) == (arn(2), arn(1))
    assert (first["family"], first["container"], first["image"]) == ("papyrus-task", "app", IMAGE)
    assert [(row["member"], row["name"], row["after"]) for row in first["differences"]] == [
        ("image", "", IMAGE),
        ("environment", "PGSSLMODE", "verify-full"),
    ]
    ecs.service["taskDefinition"] = arn(2)
    second = run(ecs, **wanted)
    assert (second["changed"], second["task_definition_arn"], second["differences"]) == (False, arn(2), [])
    assert (second["diff"]["before"], second["diff"]["after"]) == ({}, {})
    assert len(ecs.registered) == 1
    assert len(second["request_ids"]) == 3


def test_F2_check_mode_shows_the_same_differences_and_writes_nothing(run: Any) -> None:
    ecs = Ecs()
    wanted = {**FROM_SERVICE, "image": IMAGE}
    predicted = run(ecs, check=True, **wanted)
    assert (predicted["changed"], predicted["task_definition_arn"], predicted["revision"]) == (True, "", None)
    assert predicted["diff"] == {
        "before": {"container app": {"image": OLD_IMAGE}},
        "after": {"container app": {"image": IMAGE}},
        "before_header": "papyrus-task:1",
        "after_header": "papyrus-task:(new)",
    }
    assert ecs.registered == []
    assert run(ecs, **wanted)["differences"] == predicted["differences"]


@pytest.mark.parametrize("image", [f"{REPOSITORY}:v1", REPOSITORY, "papyrus", f"{REPOSITORY}@sha256:abc"])
def test_F2_an_image_that_is_not_pinned_is_refused_before_anything_is_asked(run: Any, image: str) -> None:
    ecs = Ecs()
    result = run(ecs, **FROM_SERVICE, image=image)
    assert result["failed"] is True
    assert result["step"] == "F2"
    assert "resolve it with papyrus.ops.ecr_image_info" in result["msg"]
    assert ecs.aws.names == []


def test_F2_an_index_is_refused_with_what_to_do(run: Any) -> None:
    ecs = Ecs()
    ecs.images["b" * 64] = OCI_INDEX
    result = run(ecs, **FROM_SERVICE, image=IMAGE)
    assert f"{IMAGE} is an index of several platforms" in result["msg"]
    assert "Resolve it with papyrus.ops.ecr_image_info" in result["msg"]
    assert ecs.registered == []


def test_F2_an_image_that_ecr_does_not_have_is_refused(run: Any) -> None:
    ecs = Ecs()
    ecs.images.clear()
    result = run(ecs, **FROM_SERVICE, image=IMAGE)
    assert "no task could start with it. Push it first, or correct the digest" in result["msg"]
    assert ecs.registered == []
    assert run(ecs, **FROM_SERVICE, image=IMAGE, verify_image=False)["registered"] is True


@pytest.mark.parametrize(
    "image",
    [
        f"public.ecr.aws/docker/library/python@sha256:{'b' * 64}",
        f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/papyrus@sha256:{'b' * 64}",
    ],
)
def test_F2_images_elsewhere_are_taken_as_they_are(run: Any, image: str) -> None:
    ecs = Ecs()
    assert run(ecs, **FROM_SERVICE, image=image)["image"] == image
    assert "ecr.describe_images" not in ecs.aws.names


def test_F2_values_of_secrets_are_nowhere_in_the_result(run: Any, tmp_path: Path) -> None:
    given = definition()
    given["containerDefinitions"][0]["environment"].append({"name": "API_KEY", "value": "the-old-api-key"})
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "password", "known-to-the-run")
    ecs = Ecs(given)
    environment = {"API_KEY": "the-new-api-key", "GREETING": "hello known-to-the-run", "PGSSLMODE": "verify-full"}
    result = run(ecs, **FROM_SERVICE, environment=environment, private=str(tmp_path))
    sent = {item["name"]: item["value"] for item in ecs.registered[0]["containerDefinitions"][0]["environment"]}
    assert sent == {**environment, "LOG_LEVEL": "info"}
    text = json.dumps(result)
    assert "module_args" in text
    for secret in ("the-old-api-key", "the-new-api-key", "known-to-the-run"):
        assert secret not in text
    shown = result["diff"]["after"]["container app"]["environment"]
    assert shown["PGSSLMODE"] == "verify-full"
    assert shown["API_KEY"].startswith("[redacted:variable:")
    assert shown["API_KEY"] != result["diff"]["before"]["container app"]["environment"]["API_KEY"]


def test_F2_what_stays_stricter_is_told(run: Any) -> None:
    given = definition()
    given["containerDefinitions"][0]["environment"][0]["value"] = "verify-full"
    result = run(Ecs(given), **FROM_SERVICE, environment={"PGSSLMODE": "require"})
    assert (result["changed"], result["kept"]) == (False, {"PGSSLMODE": {"asked": "require", "kept": "verify-full"}})


def test_F2_the_health_check_is_compared_with_ecs_defaults(run: Any) -> None:
    ecs = Ecs()
    command = ["CMD", "python", "-m", "papyrus.healthcheck"]
    assert run(ecs, **FROM_SERVICE, health_check={"command": command, "interval": 30})["changed"] is False
    result = run(ecs, **FROM_SERVICE, health_check={"command": command, "start_period": 20})
    assert result["differences"][0]["after"] == {
        "command": command,
        "interval": 30,
        "timeout": 5,
        "retries": 3,
        "startPeriod": 20,
    }
    assert ecs.registered[0]["containerDefinitions"][0]["healthCheck"] == {"command": command, "startPeriod": 20}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({**FROM_SERVICE, "container": "web"}, "has no container 'web'; it has: app, proxy"),
        ({**FROM_SERVICE, "environment": {"DB_USER": "x"}}, "variable DB_USER of container app is a secret"),
        ({**FROM_SERVICE, "environment": {"DEBUG": True}}, "put it in quotes"),
        ({"task_definition": arn(9), "container": "app"}, "DescribeTaskDefinition"),
        ({"service": SERVICE}, "cluster"),
        ({}, "service, task_definition"),
    ],
)
def test_F2_each_mistake_is_one_clear_line(run: Any, options: dict[str, Any], words: str) -> None:
    ecs = Ecs()
    result = run(ecs, **options)
    assert result["failed"] is True
    assert words in result["msg"]
    assert "Traceback" not in json.dumps(result)
    assert ecs.registered == []


def test_F2_a_named_revision_may_be_the_source_even_when_it_is_inactive(run: Any) -> None:
    ecs = Ecs(definition(), definition())
    ecs.revisions[1]["taskDefinition"]["status"] = "INACTIVE"
    result = run(ecs, task_definition=arn(1), container="app", image=IMAGE)
    assert (result["previous"], result["previous_status"], result["revision"]) == (arn(1), "INACTIVE", 3)
    assert "papyrus-task:2 of the family is newer" in result["warnings"][0]
