# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Travels with _pg_program.py: chooses the work, and gives its answer in one line whatever happens."""

from __future__ import annotations

import json
from typing import Any

from ._pg_program import PSYCOPG_IMPORT_ERROR, Refused, clean, login, query, say, write
from ._pg_program_prepare import prepare
from ._pg_program_script import outcome, script

WORK = {"login": login, "query": query, "script": script, "prepare": prepare, "outcome": outcome}


def answer(given: dict[str, Any]) -> dict[str, Any]:
    if PSYCOPG_IMPORT_ERROR:
        return {"ok": False, "error": failure("psycopg", "psycopg 3 cannot be imported: " + PSYCOPG_IMPORT_ERROR)}
    try:
        return WORK[given["op"]](given)
    except Refused as exc:
        say("ERROR {}: {}".format(exc.error["sqlstate"], exc.error["message"]))
        return {"ok": False, "error": exc.error}
    except Exception as exc:  # a fault of this program: its text, without the place, which may show values
        return {"ok": False, "committed": None, "error": failure("program", f"{type(exc).__name__}: {exc}")}


def failure(kind: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "message": message, "sqlstate": ""}


def main(given: dict[str, Any]) -> int:
    """0 when the work was done; a login that was refused has been tried."""
    said = answer(given)
    write("\n{} {}\n".format(given["mark"], json.dumps(clean({**said, "op": given["op"]}))))
    return 0 if said["ok"] or "connected" in said else 1
