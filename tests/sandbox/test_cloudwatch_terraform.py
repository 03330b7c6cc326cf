"""Terraform's provider, unmodified: alarms, topics, log groups, filters and rules read back as they were put."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.sandbox.support import CHECKOUT, Sandbox

TERRAFORM = CHECKOUT / ".sandbox" / "bin" / "terraform"
CONFIGURATION = Path(__file__).with_name("alarms.tf")


def test_a_second_plan_is_empty(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(CONFIGURATION.read_text())
    environment = {
        **os.environ,
        "TF_CLI_CONFIG_FILE": str(CHECKOUT / ".sandbox" / "terraform" / "terraform.rc"),
        "TF_IN_AUTOMATION": "1",
        "TF_VAR_endpoint": sandbox.endpoint,
        "TF_VAR_region": sandbox.facts["region"],
        "AWS_ACCESS_KEY_ID": sandbox.facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": sandbox.facts["secret_access_key"],
    }

    def terraform(*words: str) -> str:
        done = subprocess.run(
            [str(TERRAFORM), *words, "-input=false", "-no-color"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    terraform("init")
    try:
        terraform("apply", "-auto-approve")
        # Without -detailed-exitcode: the words say what differs when something does.
        assert "No changes." in terraform("plan")
        with_actions = sandbox.client("cloudwatch").describe_alarms(AlarmNames=["tf-a"])["MetricAlarms"][0]
        assert with_actions["DatapointsToAlarm"] == 2
    finally:
        terraform("destroy", "-auto-approve")
    assert sandbox.client("cloudwatch").describe_alarms(AlarmNamePrefix="tf-")["MetricAlarms"] == []
