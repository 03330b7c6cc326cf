"""The module cloudtrail_export in a process of its own, as Ansible starts it; its result goes to stdout.

usage: export_process.py ARGUMENTS   (JSON; the most memory, in KiB, goes to stderr)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.modules import cloudtrail_export


def run(arguments: dict[str, object]) -> None:
    """Ends the process."""
    with patch_module_args(arguments):
        cloudtrail_export.main()


def peak() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    try:
        run(json.loads(sys.argv[1]))
    finally:
        print(f"peak {peak()}", file=sys.stderr)
