# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which statements cannot be rehearsed in a transaction and then be run in one; pure functions of the parser's trees.

Sources: the pages of the commands under https://www.postgresql.org/docs/current/sql-commands.html ("cannot be executed
inside a transaction block"), and PreventInTransactionBlock in PostgreSQL's source. What depends on the database rather
than on the text (REINDEX and CLUSTER of a partitioned table, procedures that commit) is left to the server: it refuses
inside the dry run, and the transaction fails as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Tree = Mapping[str, Any]

ENDS = "begins or ends a transaction; the file runs in one of its own: remove the statement"
ALONE = (
    "cannot run inside a transaction block, so it can be neither rehearsed nor taken back: run it by hand, by itself"
)
OUTSIDE = "acts outside of the database, which no ROLLBACK takes back"

_STAYS_INSIDE = {"TRANS_STMT_SAVEPOINT", "TRANS_STMT_RELEASE", "TRANS_STMT_ROLLBACK_TO"}
_ALONE = {"CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt", "DropTableSpaceStmt", "AlterSystemStmt"}
_WHOLE = {"REINDEX_OBJECT_DATABASE", "REINDEX_OBJECT_SYSTEM", "REINDEX_OBJECT_SCHEMA"}
_REFRESHES = {
    "ALTER_SUBSCRIPTION_SET_PUBLICATION",
    "ALTER_SUBSCRIPTION_ADD_PUBLICATION",
    "ALTER_SUBSCRIPTION_DROP_PUBLICATION",
}
_UTF8 = {"utf8", "utf-8", "unicode"}
_FALSE = {"false", "off", "0", "no"}

ESCAPES = {
    "setval": "setval() is not undone by ROLLBACK: already the dry run sets the sequence",
    "nextval": "nextval() is not undone by ROLLBACK: the dry run uses up numbers of the sequence",
    **dict.fromkeys(
        ("dblink", "dblink_exec", "dblink_send_query"),
        "dblink works in another session, which no ROLLBACK reaches: already the dry run does it",
    ),
    **dict.fromkeys(
        ("lo_export", "lo_import", "pg_file_write", "pg_file_rename", "pg_file_unlink"),
        "works on files of the server, which no ROLLBACK takes back: already the dry run does it",
    ),
    **dict.fromkeys(
        (
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_reload_conf",
            "pg_rotate_logfile",
            "pg_switch_wal",
            "pg_promote",
            "pg_stat_reset",
            "pg_create_logical_replication_slot",
            "pg_create_physical_replication_slot",
            "pg_drop_replication_slot",
            "pg_advisory_lock",
        ),
        "acts on the server at once, which no ROLLBACK takes back: already the dry run does it",
    ),
}
"""Functions by name whose work outlives a ROLLBACK. Calls inside of functions and DO blocks are not seen."""


def refusal(name: str, node: Tree) -> str:
    """Why a statement may not stand in the file, or ""."""
    rule = _RULES.get(name)
    if name in _ALONE:
        return ALONE
    return rule(node) if rule else ""


def warnings(name: str, node: Tree) -> list[str]:
    """What a ROLLBACK leaves behind of the statement."""
    if name in ("CreateFunctionStmt", "ViewStmt", "RuleStmt", "CreateTrigStmt", "CreateStmt", "AlterTableStmt"):
        return []  # written down, not called
    found = {called for called in _calls(node) if called in ESCAPES}
    return [ESCAPES[called] for called in sorted(found)]


def _calls(node: Any) -> Iterator[str]:
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            call = item.get("FuncCall")
            if isinstance(call, dict):
                yield str(call["funcname"][-1]["String"]["sval"])
            stack.extend(item.values())


def _options(node: Tree, key: str = "options") -> dict[str, str]:
    """`name: value` of a WITH list; the value of one that is only named is "true"."""
    found: dict[str, str] = {}
    for entry in node.get(key) or []:
        option = entry["DefElem"]
        value = option.get("arg")
        inner: Any = next(iter(value.values())) if value else {"sval": "true"}
        text = next(iter(inner.values()), "") if isinstance(inner, dict) and inner else "false"
        found[option["defname"]] = str(text).lower()
    return found


def _transaction(node: Tree) -> str:
    kind = node.get("kind", "TRANS_STMT_BEGIN")
    if kind in ("TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED"):
        return ALONE
    return "" if kind in _STAYS_INSIDE else ENDS


def _reindex(node: Tree) -> str:
    concurrently = _options(node, "params").get("concurrently", "false") not in _FALSE
    return ALONE if node.get("kind") in _WHOLE or concurrently else ""


def _alter_table(node: Tree) -> str:
    for entry in node.get("cmds") or []:
        command = entry["AlterTableCmd"]
        part = (command.get("def") or {}).get("PartitionCmd") or {}
        if command.get("subtype") == "AT_DetachPartition" and part.get("concurrent"):
            return ALONE
    return ""


def _copy(node: Tree) -> str:
    if not node.get("filename"):
        return "moves its data outside of SQL (STDIN, STDOUT); write them as INSERT"
    if node.get("is_program") or not node.get("is_from"):
        return OUTSIDE
    return ""


def _variable(node: Tree) -> str:
    if node.get("name") != "client_encoding":
        return ""
    values = [str(next(iter(a.get("A_Const", {}).get("sval", {}).values()), "")) for a in node.get("args") or []]
    if node.get("kind") == "VAR_SET_VALUE" and [value.lower() for value in values] in ([name] for name in _UTF8):
        return ""
    return "changes how the rest of the file is read; the file is UTF-8 and is sent as UTF-8: remove the statement"


def _create_subscription(node: Tree) -> str:
    options = _options(node)
    makes = options.get("connect", "true") not in _FALSE and options.get("create_slot", "true") not in _FALSE
    return ALONE + " (it makes a replication slot)" if makes else ""


def _alter_subscription(node: Tree) -> str:
    kind = node.get("kind", "ALTER_SUBSCRIPTION_OPTIONS")
    if kind == "ALTER_SUBSCRIPTION_REFRESH":
        return ALONE
    refreshes = kind in _REFRESHES and _options(node).get("refresh", "true") not in _FALSE
    alters_slot = kind == "ALTER_SUBSCRIPTION_OPTIONS" and {"failover", "two_phase"} & set(_options(node))
    return ALONE if refreshes or alters_slot else ""


_RULES: dict[str, Callable[[Tree], str]] = {
    "TransactionStmt": _transaction,
    "ReindexStmt": _reindex,
    "AlterTableStmt": _alter_table,
    "CopyStmt": _copy,
    "VariableSetStmt": _variable,
    "CreateSubscriptionStmt": _create_subscription,
    "AlterSubscriptionStmt": _alter_subscription,
    "DropSubscriptionStmt": lambda node: ALONE + " (it drops a replication slot)",
    "VacuumStmt": lambda node: ALONE if node.get("is_vacuumcmd") else "",
    "ClusterStmt": lambda node: "" if node.get("relation") else ALONE,
    "IndexStmt": lambda node: ALONE if node.get("concurrent") else "",
    "DropStmt": lambda node: ALONE if node.get("concurrent") else "",
    "DiscardStmt": lambda node: ALONE if node.get("target", "DISCARD_ALL") == "DISCARD_ALL" else "",
    "AlterDatabaseStmt": lambda node: ALONE if "tablespace" in _options(node) else "",
    "LoadStmt": lambda node: OUTSIDE,
    "CheckPointStmt": lambda node: OUTSIDE,
}
