"""Releases as a person makes them, and what the service runs afterwards, asked of AWS without the product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import harness
from .recorded import Recorded
from .services import CLUSTER, Services

PLAYBOOK = "playbooks/release.yml"
ITEMS = {
    "preflight.json", "image_push.json", "taskdef_diff.json", "schema_dryrun_exec.log", "schema_apply_exec.log",
    "rollout.jsonl", "running_image.log", "pgsslmode_env.log", "flask_url_map_after.log",
    "papyrus_psql_insert_cli.log", "papyrus_psql_insert_cli.cast", "plaintext_refused.log", "papyrus_sku_check.log",
    "papyrus_psql_insert_app.log", "healthz.log", "dbcheck.log", "no_header.log", "binding.json",
    "alb_sg_verify_gone.json", "verdict.json",
}  # fmt: skip


class Release(Recorded):
    """A run of the release under way. Looks at the rollout each second, as tests have no minutes."""

    def __init__(
        self, folder: Path, variables: dict[str, Any], *arguments: str, launcher: tuple[str, ...] = ()
    ) -> None:
        super().__init__(folder, {"rollout_interval": 1, **variables}, arguments, PLAYBOOK, launcher=launcher)

    def end(self, timeout: float = 900) -> harness.Smoke:
        """Wait for the end; a release takes twice a smoke's time, and going back the half of that again."""
        return super().end(timeout)


class Served:
    """What a service runs, asked with boto3."""

    def __init__(self, service: dict[str, Any]) -> None:
        self.name = str(service["papyrus_service"])
        described = harness.client("ecs").describe_services(cluster=CLUSTER, services=[self.name])["services"][0]
        self.revision: str = described["taskDefinition"]
        self.deployments = [(item["taskDefinition"], item["rolloutState"]) for item in described["deployments"]]
        tasks = Services.running(self.name)
        self.revisions = {task["taskDefinitionArn"] for task in tasks}
        self.digests = {container["imageDigest"] for task in tasks for container in task["containers"]}

    def only(self, revision: str) -> bool:
        """Whether every running task is of this revision and no rollout is in flight."""
        return self.revisions == {revision} and self.deployments == [(revision, "COMPLETED")]


def went_back(smoke: harness.Smoke, service: dict[str, Any], old: str, by: str, *words: str) -> None:
    """Require: failed for this cause, taken back by this one, the old revision serving, no word of success anywhere."""
    assert smoke.exit_code not in (0, 4), smoke.output[-4000:]
    verdict, release = smoke.verdict, smoke.verdict["release"]
    assert verdict["result"] == "FAILED"
    assert (release["result"], release["by"], release["proven"]) == ("rolled_back", by, False), release
    assert (release["serving"], release["previous"]) == (old, old), release
    assert release["task_definition"] not in ("", old), release
    for word in words:
        assert word in f"{verdict['first_failure']['cause']} {release['cause']}", (
            word,
            verdict["first_failure"],
            release,
        )
    served = Served(service)
    assert served.revision == old, (served.revision, old)
    assert served.only(old), (served.revisions, served.deployments)
    said = [line for line in smoke.output.splitlines() if "Release: " in line and f"{served.name}:" in line][-1]
    assert f": rolled back by {by}; {old.rpartition('/')[2]} serves" in said, said
    assert "proven" not in said
    assert "stable" not in said
    assert left_nothing(smoke), smoke.run_id


def left_nothing(smoke: harness.Smoke) -> bool:
    """Nothing of the run is left, neither in AWS nor as a process."""
    return harness.left_behind(smoke.run_id) == [] and harness.processes_of(smoke.run_id) == []
