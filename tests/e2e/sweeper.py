"""One sweep of a service in a process of its own, without Ansible around it; prints what it did as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from . import harness


def start(service: str, *, dry: bool = False) -> subprocess.Popen[str]:
    """A sweeper under way."""
    known = harness.facts()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "PYTHONPATH": f"{harness.CHECKOUT}:{harness.CHECKOUT / 'collections'}",
        "AWS_ENDPOINT_URL": known["endpoint"],
        "AWS_REGION": known["region"],
        "AWS_ACCESS_KEY_ID": known["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
    }
    command = [sys.executable, "-m", "tests.e2e.sweeper", service, "dry" if dry else ""]
    return subprocess.Popen(command, cwd=harness.CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it printed."""
    output, _errors = process.communicate(timeout=900)
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(output)
    return result


def main(service: str, dry: bool) -> None:
    """Sweeps, as papyrus.ops.run_leftovers does."""
    from ansible_collections.papyrus.ops.plugins.module_utils._aws import client_factory
    from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Scope
    from ansible_collections.papyrus.ops.plugins.module_utils._sweep import Order, sweep

    done = sweep(
        client_factory({"region_name": os.environ["AWS_REGION"]}),
        Scope("papyrus", service), Order(service), timeout=600, interval=2, dry=dry,
    )  # fmt: skip
    deleted = [[each["kind"], each["id"], each["how"]] for each in done.deleted]
    result = {"found": len(done.before.resources), "deleted": deleted, "failed": done.failed, "gone": done.gone}
    print(json.dumps({**result, "calls": done.calls, "seconds": done.seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "dry")
