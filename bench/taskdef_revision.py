#!/usr/bin/env python3
"""What one task definition revision costs: the module against the two commands of the aws CLI that people use.

usage: .venv/bin/python bench/taskdef_revision.py [--times 10]

Against the local AWS that PAPYRUS_SANDBOX_ROOT (or this checkout) has up. Revisions are registered in a family of their
own and deregistered at the end; no service is touched.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "collections")]
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._taskdef import READ_ONLY, Wanted
from ansible_collections.papyrus.ops.plugins.module_utils._taskdef_revision import make

from tests.e2e import harness
from tests.e2e.services import REGISTERABLE, permanent_service

BIN = CHECKOUT / ".venv" / "bin"
MODULE = "papyrus.ops.ecs_taskdef_revision"


def row(name: str, action: Callable[[], Any], times: int) -> str:
    """A line of the table: how long each of so many runs took."""
    taken = []
    for _time in range(times):
        started = time.perf_counter()
        action()
        taken.append((time.perf_counter() - started) * 1000)
    return f"| {name} | {statistics.median(taken):.0f} | {min(taken):.0f} | {max(taken):.0f} |"


class Bench:
    """One family and three ways to make a revision of it; each changes one variable to a value not used before."""

    def __init__(self) -> None:
        known = harness.facts()
        self.ecs, self.family, self.numbers = harness.client("ecs"), f"bench-{secrets.token_hex(3)}", itertools.count()
        self.environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": known["endpoint"],
            "AWS_ACCESS_KEY_ID": known["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
            "AWS_REGION": known["region"],
            "AWS_DEFAULT_REGION": known["region"],
            "AWS_MAX_ATTEMPTS": "1",
        }
        given = self.ecs.describe_task_definition(taskDefinition=permanent_service()["taskDefinition"])[
            "taskDefinition"
        ]
        kept = {name: given[name] for name in REGISTERABLE if given.get(name)}
        self.ecs.register_task_definition(
            family=self.family, containerDefinitions=given["containerDefinitions"], **kept
        )

    def close(self) -> None:
        """Deregister what was registered."""
        for page in self.ecs.get_paginator("list_task_definitions").paginate(familyPrefix=self.family):
            for arn in page["taskDefinitionArns"]:
                self.ecs.deregister_task_definition(taskDefinition=arn)

    def value(self, same: bool) -> str:
        """What the variable gets."""
        return "same" if same else str(next(self.numbers))

    def calls(self, same: bool) -> None:
        """The module's work in this process: what is left are the calls of AWS."""
        make(Calls(lambda service: self.ecs), self.family, Wanted(None, "", {"N": self.value(same)}), check=False)

    def module(self, same: bool) -> None:
        """A whole ansible process with the module's one task."""
        options = {"task_definition": self.family, "environment": {"N": self.value(same)}}
        command = [BIN / "ansible", "localhost", "-m", MODULE, "-a", json.dumps(options)]
        subprocess.run(command, cwd=CHECKOUT, env=self.environment, check=True, capture_output=True)

    def cli(self, same: bool) -> None:
        """describe-task-definition, an edit, register-task-definition: registers whatever is there."""
        describe = [BIN / "aws", "ecs", "describe-task-definition", "--task-definition", self.family]
        found = subprocess.run(describe, env=self.environment, check=True, capture_output=True)
        given = json.loads(found.stdout)["taskDefinition"]
        definition = {name: value for name, value in given.items() if name not in READ_ONLY and value != ""}
        definition["containerDefinitions"][0]["environment"].append({"name": "N", "value": self.value(same)})
        register = [BIN / "aws", "ecs", "register-task-definition", "--cli-input-json", json.dumps(definition)]
        subprocess.run(register, env=self.environment, check=True, capture_output=True)


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--times", type=int, default=10)
    asked = options.parse_args()
    bench = Bench()
    try:
        bench.calls(same=True)  # client and models are loaded, the variable is there
        print(f"Load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        print(f"| of {asked.times} | median ms | min | max |\n|---|---|---|---|")
        print(row("a new revision, the calls alone", lambda: bench.calls(False), asked.times))
        bench.calls(same=True)
        print(row("nothing to change, the calls alone", lambda: bench.calls(True), asked.times))
        print(row("nothing to change, one ansible process", lambda: bench.module(True), asked.times))
        print(row("a new revision, one ansible process", lambda: bench.module(False), asked.times))
        print(row("a new revision, aws CLI (describe, edit, register)", lambda: bench.cli(False), asked.times))
    finally:
        bench.close()


if __name__ == "__main__":
    main()
