"""H2: the surface of a release and of a drill, seen from outside; a smoke's is in test_alb_smoke."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import alarms, surface
from .alarms import LOAD_BALANCER
from .harness import RunningSmoke, left_behind
from .services import Services
from .surface import Watch

pytestmark = pytest.mark.soak


def well_kept(watched: Watch) -> None:
    surface.no_command_line_has_a_secret(watched)
    surface.children_have_what_they_need(watched)
    surface.temporary_files_are_private(watched)


def test_H2_a_release_gives_nothing_away(tmp_path: Path, services: Services) -> None:
    service = services.service("surface", breaker=True)
    watched = surface.watch(tmp_path, {"rollout_interval": 1, **service}, playbook="playbooks/release.yml")
    smoke = watched.running.end()
    assert smoke.exit_code == 0, smoke.output[-4000:]
    well_kept(watched)
    assert left_behind(smoke.run_id) == []


@pytest.fixture
def alarmed(services: Services, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Variables of a service of its own with permanent alarms."""
    service = services.service("surface")
    name = service["papyrus_service"]
    variables = {**service, "papyrus_monitor_name": name, "papyrus_monitor_load_balancer": LOAD_BALANCER}
    more = {
        "papyrus_state_dir": str(tmp_path / "state"),
        "papyrus_stack_variables": {"30-monitor": {"treat_missing_data": {"memory": "missing"}}},
        "papyrus_allowed_skips": ["I1"],
    }
    monitor = RunningSmoke(tmp_path / "monitor", variables | more, playbook="playbooks/monitor.yml").end(600)
    assert monitor.exit_code == 0, monitor.output[-3000:]
    yield variables
    alarms.remove(name)


def test_H2_a_drill_gives_nothing_away(tmp_path: Path, alarmed: dict[str, Any]) -> None:
    """It ends as soon as alarms ought to ring, which is too early for them: what is watched for has been by then."""
    early = {"papyrus_drill_steady_timeout": 5, "papyrus_drill_alarm_timeout": 5, "papyrus_drill_ok_timeout": 5}
    watched = surface.watch(tmp_path / "drill", alarmed | early, playbook="playbooks/alarm_drill.yml")
    smoke = watched.running.end()
    assert smoke.verdict["result"] == "FAILED"
    assert "alarm_drill.jsonl" in [line["name"] for line in smoke.lines]
    well_kept(watched)
    assert left_behind(smoke.run_id) == []
