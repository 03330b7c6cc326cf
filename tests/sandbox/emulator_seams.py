"""Which parts of the emulator sandbox/ touches, and what they are in the version that is installed.

`python -m tests.sandbox.emulator_seams` writes emulator_seams.json anew: after an upgrade was made to work, or a new
part is touched. test_core_seams.py compares.
"""

from __future__ import annotations

import ast
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.sandbox.support import CHECKOUT, PYTHON

FILE = Path(__file__).with_suffix(".json")
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
    "imds": "services.imds",
    "iam": "services.iam",
    "acm": "services.acm",
    "sts": "services.sts",
    "awsconfig": "services.config",
    "trails": "services.cloudtrail",
    "s3": "services.s3",
    "kms": "services.kms",
    "application": "app",
}
# What holds a module as well: a call of these with a module's name.
CALLS = {
    "service": "services",
    "emulator.service": "services",
    "core": "core",
    "emulator.core": "core",
}
DESCRIBE = """
import importlib, importlib.metadata, inspect, json, sys
def described(module, name):
    try:
        found = getattr(importlib.import_module(f"ministack.{module}"), name)
    except (ImportError, AttributeError):
        return None
    if not inspect.isroutine(found):
        return type(found).__name__
    shown = []
    for parameter in inspect.signature(found).parameters.values():
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        optional = "" if parameter.default is parameter.empty else "=…"
        shown.append(f"{star}{parameter.name}{optional}")
    return f"({', '.join(shown)})"
names = json.load(sys.stdin)
seams = {f"{module}.{name}": described(module, name) for module, name in names}
print(json.dumps({"version": importlib.metadata.version("ministack"), "seams": seams}))
"""


def touched() -> list[tuple[str, str]]:
    """(module, name) of all that is read, called or replaced; of variables' public names only what is replaced."""
    found = set()
    for file in (CHECKOUT / "sandbox").rglob("*.py"):
        found.update(_touched_in(ast.parse(file.read_text("utf-8"))))
    return sorted(found)


def _touched_in(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        called = _module_called(node.value)
        held = MODULES.get(ast.unparse(node.value)) if isinstance(node.value, ast.Name | ast.Attribute) else None
        if called is not None:
            yield called, node.attr
        elif held is not None and (node.attr.startswith("_") or isinstance(node.ctx, ast.Store)):
            yield held, node.attr


def _module_called(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    package = CALLS.get(ast.unparse(node.func))
    return f"{package}.{node.args[0].value}" if package else None


def installed() -> dict[str, Any]:
    """The version, and each part: a function's parameters, or a type's name, or None when it is not there."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [str(PYTHON), "-c", DESCRIBE],
            input=json.dumps(touched()),
            cwd=CHECKOUT,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": home,
                "STATE_DIR": home,
                "S3_DATA_DIR": home,
                "DOCKER_HOST": "unix:///nonexistent",
            },
            capture_output=True,
            text=True,
            check=True,
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    FILE.write_text(json.dumps(installed(), indent=1, ensure_ascii=False, sort_keys=True) + "\n")
