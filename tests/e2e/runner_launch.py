"""Puts ansible-runner before ansible-playbook: called with its command line, becomes `ansible-runner run`.

The checkout's own private data dir is used; artifacts go beside the run's variables.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def command(playbook: Path, arguments: list[str], artifacts: Path, *, verb: str = "run") -> list[str]:
    """ansible-runner's command line for a playbook of the checkout."""
    return [
        str(CHECKOUT / ".venv" / "bin" / "ansible-runner"), verb, str(CHECKOUT / "runner"), "-p", playbook.name,
        "--artifact-dir", str(artifacts), "--ident", "job", "--cmdline", shlex.join(arguments),
    ]  # fmt: skip


if __name__ == "__main__":
    _ansible_playbook, asked, *rest = sys.argv[1:]
    variables = next(Path(each[1:]) for each in rest if each.startswith("@"))
    line = command(Path(asked), rest, variables.parent / "artifacts")
    os.execv(line[0], line)
