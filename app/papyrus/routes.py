"""`python -m papyrus.routes`: the URL map of the application as this container would serve it, for ECS Exec.

First line `ROUTES: [...]` (JSON, sorted), then each rule with its methods and endpoint. Asks nothing of the network.
"""

from __future__ import annotations

import json
import sys

from flask import Flask

from . import create_app


def url_map(app: Flask) -> list[str]:
    """The lines to print."""
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    lines = [f"ROUTES: {json.dumps([rule.rule for rule in rules])}"]
    return lines + [f"{rule.rule} {','.join(sorted(rule.methods or ()))} -> {rule.endpoint}" for rule in rules]


def main() -> int:
    print("\n".join(url_map(create_app())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
