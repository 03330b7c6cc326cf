"""`python -m papyrus.healthcheck`: the container's health check. Exit 0 when /healthz answers 200, else 1.

It reads the status line alone, by a bare socket: every few seconds an interpreter starts for it, and http.client would
double what that costs.
"""

from __future__ import annotations

import os
import socket
import sys

TIMEOUT = 3.0  # seconds; below the container health check's own (default 5)
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUser-Agent: papyrus-healthcheck\r\nConnection: close\r\n\r\n"


def check(host: str, port: int, timeout: float = TIMEOUT) -> str:
    """ "" when healthy, else what is wrong."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(REQUEST)
            line = connection.makefile("rb").readline(200)
    except OSError as exc:
        return f"{type(exc).__name__}: {exc}"
    words = line.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        return f"no answer of HTTP: {line!r}"
    status = words[1].decode("ascii", "replace")
    return "" if status == "200" else f"status {status}"


def main() -> int:
    host = os.environ.get("PAPYRUS_HEALTHCHECK_HOST", "127.0.0.1")
    fault = check(host, int(os.environ.get("PORT", "5000")))
    if fault:
        print(f"healthz: {fault}", file=sys.stderr)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
