"""`python -m papyrus.healthcheck`: the container's health check. Exit 0 when /healthz answers 200, else 1."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT = 3.0  # seconds; below the container health check's own (default 5)


def check(host: str, port: int, timeout: float = TIMEOUT) -> str:
    """ "" when healthy, else what is wrong."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/healthz", headers={"User-Agent": "papyrus-healthcheck"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        return f"{type(exc).__name__}: {exc}"
    finally:
        connection.close()
    return "" if status == 200 else f"status {status}"


def main() -> int:
    host = os.environ.get("PAPYRUS_HEALTHCHECK_HOST", "127.0.0.1")
    fault = check(host, int(os.environ.get("PORT", "5000")))
    if fault:
        print(f"healthz: {fault}", file=sys.stderr)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
