"""Several services in one run of the playbook, each in its own situation: as a person with many services has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import harness
from .harness import RunningSmoke, Smoke

GROUP = "together"


class RunningTogether(RunningSmoke):
    """One controller, one host for each case; hosts differ from inventories/sandbox by the variables of their case."""

    def __init__(
        self,
        folder: Path,
        cases: Mapping[str, dict[str, Any]],
        playbook: str = "playbooks/alb_smoke.yml",
        launcher: tuple[str, ...] = (),
        more: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        hosts = folder / "hosts.json"
        stacks = harness.SANDBOX_ROOT / ".sandbox" / "state" / "stacks" / "papyrus-prd"
        common = {"sandbox_checkout": str(harness.CHECKOUT), "papyrus_state_dir": str(stacks)}
        group = {"hosts": {case: common | variables for case, variables in cases.items()}}
        hosts.write_text(json.dumps({"all": {"children": {GROUP: group}}}), "utf-8")
        arguments = ("-i", "inventories/sandbox", "-i", str(hosts), "--limit", GROUP, *more)
        super().__init__(folder, {}, arguments, playbook, launcher=launcher)
        self.cases = list(cases)

    def bundle_of(self, case: str) -> Path | None:
        """The bundle that the host of this case has opened so far."""
        for folder in self.bundle_folders():
            opened = folder / "run.json"
            if opened.is_file() and json.loads(opened.read_bytes())["inventory_host"] == case:
                return folder
        return None

    def smokes(self, timeout: float = 900) -> dict[str, Smoke]:
        """Waits for the end; one run for each case, with the exit code that it would have had alone."""
        whole = self.end(timeout)
        found = {}
        for case in self.cases:
            recap = re.search(rf"^{case} +: .*unreachable=(\d+) +failed=(\d+)", whole.output, re.MULTILINE)
            bundle = self.bundle_of(case)
            assert recap and bundle, f"{case} has not come to its end:\n{whole.output[-6000:]}"
            code = 4 if int(recap[1]) else 2 if int(recap[2]) else 0
            found[case] = Smoke(code, whole.output, whole.evidence_root, whole.seconds, [bundle])
        assert whole.exit_code == max(smoke.exit_code for smoke in found.values()), whole.output[-6000:]
        return found
