#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at a SQL file before anything of it runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sql_script_info
short_description: Look at a SQL file and refuse what cannot be rehearsed in a transaction
version_added: 0.1.0
description:
  - Parses a SQL file with PostgreSQL's own parser and returns its hash and its statements. No database is asked.
  - Refuses what cannot run in one transaction that is rolled back first (dry run) and committed afterwards. These are
    statements that begin or end a transaction (savepoints may stay), statements that PostgreSQL does not run inside a
    transaction block (C(CREATE DATABASE), C(VACUUM), C(CREATE INDEX CONCURRENTLY), C(ALTER SYSTEM) …), C(COPY) from
    standard input or to files and programs, commands of psql, syntax errors, files that are empty or not UTF-8.
  - Warns of calls whose work outlives a C(ROLLBACK), such as C(setval()). Calls inside of functions and C(DO) blocks
    are not seen.
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - pglast >= 7
extends_documentation_fragment:
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  src:
    description: The file.
    type: path
  content:
    description: Its content instead.
    type: str
  sha256:
    description: What its SHA-256 has to be.
    type: str
  fail:
    description: Whether a refused file fails the task.
    type: bool
    default: true
seealso:
  - module: papyrus.ops.ecs_postgresql
"""

EXAMPLES = r"""
- name: The file can be rehearsed
  papyrus.ops.sql_script_info:
    src: init.sql
  register: gate
"""

RETURN = r"""
sha256:
  description: SHA-256 of the file's bytes.
  returned: always
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
bytes:
  description: Its size.
  returned: always
  type: int
  sample: 1103
count:
  description: Number of statements.
  returned: always
  type: int
  sample: 3
kinds:
  description: Statements by kind.
  returned: always
  type: dict
  sample: {CREATE SCHEMA: 1, CREATE TABLE: 2}
refusals:
  description: Why the file is refused, with line and column (from 1) and number of the statement (0 for the file).
  returned: always
  type: list
  elements: dict
  sample:
    - line: 12
      column: 1
      statement: 4
      reason: "COMMIT: begins or ends a transaction; the file runs in one of its own: remove the statement"
warnings_of_sql:
  description: What a C(ROLLBACK) would leave behind, in the same form.
  returned: always
  type: list
  elements: dict
  sample:
    - line: 20
      column: 1
      statement: 7
      reason: "setval() is not undone by ROLLBACK: already the dry run sets the sequence"
parser:
  description: Version of PostgreSQL whose grammar was used.
  returned: always
  type: str
  sample: "18.6"
catalogue_query:
  description:
    - A query with one row and one text that fingerprints every definition of a database. Equal before and after means
      that no definition has changed; rows of tables are not looked at.
  returned: always
  type: str
  sample: SELECT pg_catalog.md5(…) AS fingerprint FROM (…) AS catalogue
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.papyrus.ops.plugins.module_utils import _pg_catalogue, _sql_script
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    "src": {"type": "path"},
    "content": {"type": "str"},
    "sha256": {"type": "str"},
    "fail": {"type": "bool", "default": True},
}


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[("src", "content")],
        required_one_of=[("src", "content")],
        supports_check_mode=True,
    )
    redact_results(module)
    asked = module.params
    if _sql_script.PGLAST_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pglast"), exception=_sql_script.PGLAST_IMPORT_ERROR, step="G1")
    name = Path(asked["src"]).name if asked["src"] else "content"
    try:
        data = Path(asked["src"]).read_bytes() if asked["src"] else asked["content"].encode("utf-8", "surrogateescape")
    except OSError as exc:
        module.fail_json(msg=f"the SQL file cannot be read, nothing was run: {exc}", step="G1")
    script = _sql_script.examine(data, name)
    result = {
        **script.as_dict(),
        "parser": _sql_script.parser_version(),
        "catalogue_query": _pg_catalogue.catalogue_query(),
    }
    reason = script.refused or script.not_meant(asked["sha256"])
    if reason and asked["fail"]:
        module.fail_json(msg=reason, step="G1", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
