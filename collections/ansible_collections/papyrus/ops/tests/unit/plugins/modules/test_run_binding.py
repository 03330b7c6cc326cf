# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""run_binding as Ansible runs it: the JSON that it emits, check mode, what it refuses (N2)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _binding, _binding_look, _ecs_tasks
from ansible_collections.papyrus.ops.plugins.modules import run_binding
from ansible_collections.papyrus.ops.tests.unit import binding_shapes as example
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws

OPTIONS = {
    "cluster": shapes.CLUSTER,
    "service": shapes.SERVICE,
    "container": "app",
    "port": 5000,
    "target_group_arn": "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/smoke/0123456789abcdef",
    "url": "http://alb.invalid/healthz",
    "secret_headers": {"X-Papyrus-Run": "a-header-value-that-stays-secret"},
    "identity_headers": {"task": "X-Papyrus-Task", "image": "X-Papyrus-Image"},
}


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")
    aws = FakeAws()

    def run(facts: Any = None, check: bool = False, **options: Any) -> dict[str, Any]:
        def gather(*arguments: Any) -> Any:
            if isinstance(facts, Exception):
                raise facts
            return facts, "every target has answered (1 answers)"

        monkeypatch.setattr(_aws, "module_clients", lambda wanted: aws)
        monkeypatch.setattr(_binding_look, "gather", gather)
        given = {key: value for key, value in {**OPTIONS, **options}.items() if value is not None}
        with patch_module_args({**given, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            run_binding.main()
        assert aws.requests == []
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


def test_N2_a_chain_that_holds_is_emitted_with_its_evidence(run: Any) -> None:
    result = run(example.facts())
    assert result["changed"] is False
    assert result["status"] == "ok"
    assert result["binding"]["chains"][0]["task_arn"] == shapes.task_arn(1)
    assert result["binding"]["asked"] == "every target has answered (1 answers)"
    assert "a-header-value-that-stays-secret" not in json.dumps(result)


def test_N2_a_chain_that_does_not_hold_fails_with_its_evidence_unless_told_otherwise(run: Any) -> None:
    broken = example.facts(answers=example.tally(example.answer(image=example.OTHER)))
    failed = run(broken)
    assert failed["failed"] is True
    assert failed["step"] == "N2"
    assert "answers as sha256:ffffffffffff" in failed["msg"]
    assert failed["binding"]["status"] == "ng"
    kept = run(broken, fail=False)
    assert "failed" not in kept
    assert (kept["status"], kept["reason"]) == ("ng", failed["reason"])


def test_N2_a_skipped_chain_does_not_fail_the_task(run: Any) -> None:
    result = run(example.facts(headers=None, answers=_binding.Tally()), identity_headers={})
    assert (result["status"], result.get("failed")) == ("skip", None)


def test_N2_a_service_that_is_not_there_is_named_with_the_step(run: Any) -> None:
    result = run(_ecs_tasks.TaskProblem("there is no service x"))
    assert (result["failed"], result["step"], result["reason"]) == (True, "N2", "there is no service x")


def test_N2_check_mode_asks_nothing_and_says_so(run: Any) -> None:
    result = run(check=True, target_group_arn=None, url=None)
    assert result["skipped"] is True
    assert shapes.SERVICE in result["reason"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_group_arn": None}, "target_group_arn"),
        ({"url": "ftp://alb/"}, "http(s)://host/path"),
        ({"identity_headers": {"task": "X-Task"}}, "required together"),
    ],
)
def test_N2_what_cannot_be_asked_is_refused(run: Any, options: dict[str, Any], words: str) -> None:
    result = run(example.facts(), **options)
    assert result["failed"] is True
    assert words in result["msg"]
