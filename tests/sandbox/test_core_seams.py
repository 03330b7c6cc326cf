"""The emulator's version and its private parts that the sandbox touches: an upgrade that moves one is told by name."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.sandbox.support import CHECKOUT, PYTHON

# Names of variables in sandbox/ → the emulator's module that they hold.
MODULES = {
    "ecs": "services.ecs",
    "self._ecs": "services.ecs",
    "ecr": "services.ecr",
    "ec2": "services.ec2",
    "alb": "services.alb",
    "rds": "services.rds",
    "cloudwatch": "services.cloudwatch",
    "logs": "services.cloudwatch_logs",
    "sns": "services.sns",
    "sqs": "services.sqs",
    "eventbridge": "services.eventbridge",
    "secrets": "services.secretsmanager",
    "metadata": "services.ecs_metadata",
    "iam": "services.iam",
    "sts": "services.sts",
    "awsconfig": "services.config",
    "trails": "services.cloudtrail",
    "s3": "services.s3",
    "kms": "services.kms",
    "application": "app",
}
CHECK = """
import importlib, importlib.metadata, json, sys
names = json.load(sys.stdin)
missing = [f"{m}.{n}" for m, n in names if not hasattr(importlib.import_module(f"ministack.{m}"), n)]
print(json.dumps({"version": importlib.metadata.version("ministack"), "missing": missing}))
"""


def touched() -> list[tuple[str, str]]:
    found = set()
    for file in (CHECKOUT / "sandbox").rglob("*.py"):
        text = file.read_text()
        for variable, module in MODULES.items():
            for name in re.findall(rf"(?<![\w.]){re.escape(variable)}\.(_[a-zA-Z]\w*)", text):
                found.add((module, name))
    return sorted(found)


def test_every_private_name_exists_in_the_pinned_version(tmp_path: Path) -> None:
    names = touched()
    assert ("services.ecs", "_run_task_worker") in names
    done = subprocess.run(
        [str(PYTHON), "-c", CHECK],
        input=json.dumps(names),
        cwd=CHECKOUT,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "STATE_DIR": str(tmp_path),
            "S3_DATA_DIR": str(tmp_path),
            "DOCKER_HOST": "unix:///nonexistent",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["missing"] == []
    pinned = re.search(r'^VERSION = "(.+)"', (CHECKOUT / "sandbox" / "emulator.py").read_text(), re.MULTILINE)
    assert pinned is not None
    assert answer["version"] == pinned.group(1)
