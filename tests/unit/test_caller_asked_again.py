"""C7: who is asking is asked again when no answer of AWS came, and not with credentials that have expired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

ROLES = Path(__file__).resolve().parents[2] / "collections/ansible_collections/papyrus/ops/roles"
MODULE = "amazon.aws.aws_caller_info"
ASKING = {
    str(path.relative_to(ROLES)): task
    for path in sorted(ROLES.glob("*/tasks/*.yml"))
    for task in yaml.safe_load(path.read_text("utf-8"))
    if MODULE in task
}


def enough(task: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether the task takes this result, by its own `until`."""
    environment = NativeEnvironment()
    environment.tests["succeeded"] = lambda answer: not answer.get("failed")
    return bool(environment.from_string("{{ " + task["until"] + " }}").render({task["register"]: result}))


def test_C7_every_role_that_asks_is_looked_at() -> None:
    """Where a run is opened it is only for the record: the preflight asks by itself."""
    assert set(ASKING) == {"alarm_drill/tasks/look.yml", "stacks/tasks/main.yml"}


@pytest.mark.parametrize("path", sorted(ASKING))
def test_C7_the_page_of_a_proxy_is_asked_again_and_expired_credentials_are_not(path: str) -> None:
    task = ASKING[path]
    assert 1 <= task["retries"] <= 5
    assert enough(task, {"account": "123456789012"})
    assert not enough(task, {"failed": True, "msg": "Unable to parse response (syntax error: line 1, column 0)"})
    assert not enough(task, {"failed": True})
    for code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
        assert enough(task, {"failed": True, "msg": f"An error occurred ({code}) when calling GetCallerIdentity"})
