"""`python -m papyrus.login_cli`: logs in with this container's settings, writes nothing, and ends.

A task keeps the secret's values that it was started with; run as the command of a fresh task, this proves today's.
Prints who logged in where, and the server's word about TLS. Exit 0: logged in over TLS; 1: not (why is on stderr).
"""

from __future__ import annotations

import sys

from .config import Settings
from .db import TLS, Connection, Database
from .errors import DatabaseUnavailable


def _who(connection: Connection) -> tuple[str, str, str]:
    row = connection.execute("SELECT current_user, current_database()").fetchone()
    tls = connection.execute(TLS).fetchone()
    user, database = row if row else ("", "")
    return str(user), str(database), str(tls[0]) if tls else ""


def main() -> int:
    try:
        user, database, tls = Database(Settings.of_a_command()).run(_who)
    except DatabaseUnavailable as exc:
        detail = f" ({exc.detail})" if exc.detail else ""
        print(f"database not usable: {exc.reason.value}{detail}", file=sys.stderr)
        return 1
    print(f"LOGIN: {user} in {database}")
    print(f"TLS: {tls or 'none'}")
    return 0 if tls else 1


if __name__ == "__main__":
    sys.exit(main())
