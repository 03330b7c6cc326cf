"""Runs the scenarios of molecule against the local AWS of the tests, each in a folder of its own for what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e import harness
from tests.e2e.installed import Installed

TOOLS = harness.CHECKOUT / ".venv" / "bin"


@dataclass
class Scenario:
    """One scenario; with `installed` it runs the built collection, by that ansible-core, instead of the checkout's."""

    name: str
    folder: Path
    installed: Installed | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """How long its actions took."""

    @property
    def environment(self) -> dict[str, str]:
        """What molecule and Ansible below it get."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_"))}
        path = f"{TOOLS}:{os.environ['PATH']}"
        if self.installed:
            kept["ANSIBLE_COLLECTIONS_PATH"] = str(self.installed.collections)
            path = f"{self.installed.tools}:{path}"
        return kept | {
            "PATH": path,
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "MOLECULE_EPHEMERAL_DIRECTORY": str(self.folder),
            "PAPYRUS_SANDBOX_ROOT": str(harness.SANDBOX_ROOT),
            "NO_COLOR": "1",
        }

    def run(self, action: str, *options: str, **variables: Any) -> tuple[int, str]:
        """Exit code and output of one of its actions."""
        command = [str(TOOLS / "molecule"), action, "--scenario-name", self.name, *options]
        if variables:
            given = self.folder / "variables.json"
            given.write_text(json.dumps(variables), "utf-8")
            command += ["--", "--extra-vars", f"@{given}"]
        return self._timed(action, command)

    def _timed(self, action: str, command: list[str], **more: str) -> tuple[int, str]:
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=harness.CHECKOUT,
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        self.seconds.setdefault(action, []).append(time.monotonic() - began)
        return done.returncode, done.stdout

    def converge(self, *options: str, action: str = "converge", **variables: Any) -> harness.Smoke:
        """The run of its playbook, which must end well; with action "test" its verify.yml has to as well."""
        code, output = self.run(action, *options, **variables)
        assert code == 0, output[-6000:]
        root = self.folder / "evidence" / "runs"
        smoke = harness.Smoke(code, output, root, self.seconds[action][-1], sorted(root.glob("*/")))
        if self.installed:
            versions = json.loads((smoke.bundle / "run.json").read_bytes())["versions"]
            assert versions["ansible_core"].startswith(f"{self.installed.version}."), versions
        return smoke

    def passes(self) -> None:
        """verify.yml finds everything in order."""
        code, output = self.run("verify")
        assert code == 0, output[-6000:]

    def fails(self, because: str) -> None:
        """verify.yml fails, and says why: played by Ansible alone, which is half the work of molecule's verify."""
        tool = (self.installed.tools if self.installed else TOOLS) / "ansible-playbook"
        given = f"molecule_ephemeral_directory={self.folder}"
        command = [str(tool), "-i", "inventories/sandbox", "-e", given, f"molecule/{self.name}/verify.yml"]
        code, output = self._timed("verify.yml", command, MOLECULE_EVIDENCE=str(self.folder / "evidence"))
        assert code == 2, output[-6000:]  # of a task that has failed
        said_by_its_task(output, because)

    def fails_in_molecule(self, because: str) -> None:
        """The same by molecule, whose exit code says it as well."""
        code, output = self.run("verify")
        assert code != 0, output[-6000:]
        said_by_its_task(output, because)


def said_by_its_task(output: str, because: str) -> None:
    """Require that the task that failed says why."""
    assert because in " ".join(output.partition("fatal: [")[2].split()), output[-6000:]
