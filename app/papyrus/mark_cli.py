"""`python -m papyrus.mark_cli --run <run id>`: the second path of the database proof, for ECS Exec.

Prints `INSERT 0 n` (n rows new in products), then the run's mark and the server's word about TLS. Exit 0: committed;
1: the database could not be used (one line with the reason on stderr); 2: usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .config import Settings
from .db import Database
from .errors import DatabaseUnavailable
from .identity import Identity
from .runs import is_run_id


def _run_id(text: str) -> str:
    if not is_run_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a run id such as 20260131T120000Z-abc234")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m papyrus.mark_cli", description="Insert SKU-CLI and a run's mark.")
    parser.add_argument("--run", type=_run_id, required=True, help="run id, e.g. 20260131T120000Z-abc234")
    run = parser.parse_args(arguments).run
    settings = Settings.of_a_command()
    task = Identity(settings.metadata_uri, settings.metadata_timeout).get()
    try:
        mark = Database(settings).mark("SKU-CLI", "cli", run, task.arn, task.image_digest)
    except DatabaseUnavailable as exc:
        detail = f" ({exc.detail})" if exc.detail else ""
        print(f"database not usable: {exc.reason.value}{detail}", file=sys.stderr)
        return 1
    print(mark.status)
    print(f"MARK: {run} cli {'committed' if mark.inserted else 'not there'}")
    print(f"TLS: {mark.tls or 'none'}")
    return 0 if mark.inserted else 1


if __name__ == "__main__":
    sys.exit(main())
