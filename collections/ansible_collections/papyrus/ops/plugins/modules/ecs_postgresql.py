#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL work from inside a container of an ECS task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_postgresql
short_description: Query, change and prepare a PostgreSQL database from inside an ECS task
version_added: 0.1.0
description:
  - Does PostgreSQL work in a container of a running task, by ECS Exec (see M(papyrus.ops.ecs_exec)), for databases that
    the runner has no route to.
  - Sends a small program and its parameters as standard input, with echo off, and reads one line of JSON that only the
    program can have written. The container needs Python >= 3.8 with psycopg >= 3.1.
  - Sessions of O(query), O(script) and O(prepare) are encrypted by the server's own word (C(pg_stat_ssl)); otherwise
    nothing is run. C(PGSSLMODE), C(PGSSLROOTCERT) and the like of the container are honoured, and a weaker mode than
    C(require) is raised to it.
  - No password is in an argument, an output, a log or a result.
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - websockets >= 15
  - pglast >= 7 (for O(script))
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Opens no session. A script is looked at and refused as otherwise; the result says what would be done where.
  diff_mode:
    support: none
    details:
      - A dry run (O(script.commit=false)) shows what a script does.
  idempotent:
    support: partial
    details:
      - O(prepare) changes nothing the second time. A script is what it is; RV(alters) says whether it changed anything.
options:
  cluster:
    description: ECS cluster.
    type: str
    required: true
  task:
    description: ARN or id of the task.
    type: str
  service:
    description: A running task of this service's primary deployment, the newest one whose Exec agent runs.
    type: str
  container:
    description: Name of the container. May be left out when the task has only one.
    type: str
  python:
    description: The container's Python, a name or a path.
    type: str
    default: python
  environment:
    description:
      - Names of the container's variables with the parts of its login. By default those of libpq, C(PGHOST), C(PGPORT),
        C(PGDATABASE), C(PGUSER), C(PGPASSWORD).
    type: dict
    suboptions:
      host: {description: Name of the variable with the host., type: str}
      port: {description: Name of the variable with the port., type: str}
      dbname: {description: Name of the variable with the database., type: str}
      user: {description: Name of the variable with the user., type: str}
      password: {description: Name of the variable with the password., type: str}
  secret_id:
    description:
      - Log in with this secret of Secrets Manager instead (C(username), C(password), and C(host), C(port), C(dbname)
        where it has them). It is read here, not in the container.
    type: str
  dbname:
    description: Database to log in to. For O(prepare) the default is C(postgres), which every server has.
    type: str
  query:
    description: Queries in one read-only transaction. Each is one statement.
    type: list
    elements: dict
    suboptions:
      name: {description: Name of the rows in the result., type: str, required: true}
      sql: {description: "The query, with C(%s) for each of O(query[].args).", type: str, required: true}
      args: {description: Its values., type: list, elements: raw}
  script:
    description: A SQL file that runs as a whole or not at all.
    type: dict
    suboptions:
      src: {description: The file., type: path}
      content: {description: Its content instead., type: str}
      commit:
        description: Whether the transaction ends by C(COMMIT). By default it is a dry run, C(BEGIN) … C(ROLLBACK).
        type: bool
        default: false
      sha256:
        description: SHA-256 that the bytes must have, here and in the container. A dry run returns it.
        type: str
  login:
    description: Only a login. That the server refuses it is an answer, not a failure.
    type: dict
    suboptions:
      sslmode:
        description: TLS mode of this login instead of the container's.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
  prepare:
    description: Makes what is missing. Nothing is ever taken away.
    type: dict
    suboptions:
      database: {description: The database., type: str, required: true}
      role: {description: "The role that the app logs in as.", type: str}
      password_secret_id:
        description:
          - Secret whose C(password) the role gets when it is made, or when it cannot log in with it. The server gets a
            SCRAM verifier, never the password.
        type: str
      schema: {description: Schema that the role may use. Left out while it does not exist., type: str}
      grants:
        description: What the role may do with every table and view of the schema.
        type: list
        elements: str
        choices: [SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER]
        default: []
  timeout:
    description: Seconds for the work. The statements have five less.
    type: float
    default: 60
  connect_timeout:
    description: Seconds to wait for a task, for its Exec agent and for the shell in the container.
    type: float
    default: 60
  lock_timeout:
    description:
      - Seconds for which a statement waits for a lock. Waiting definitions block everybody who comes after them.
      - Two scripts at once in a database take turns; the second one waits so long, too.
    type: float
    default: 10
  application_name:
    description: How the session is called in C(pg_stat_activity) and in the server's log.
    type: str
    default: papyrus.ops
  log:
    description: File for the transcript.
    type: path
  cast:
    description: File for a recording, asciicast v2.
    type: path
  private:
    description:
      - The run's private folder. Passwords that are read become known there, so that no evidence can have them.
    type: path
  fail:
    description: Whether work that was not done fails the task.
    type: bool
    default: true
seealso:
  - module: papyrus.ops.ecs_exec
  - module: papyrus.ops.sql_script_info
"""

EXAMPLES = r"""
- name: Rehearse the schema
  papyrus.ops.ecs_postgresql:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    secret_id: papyrus/prd/db-master
    script:
      src: init.sql
    log: /tmp/schema_dryrun_exec.log
  register: dry_run

- name: Apply exactly those bytes
  papyrus.ops.ecs_postgresql:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    secret_id: papyrus/prd/db-master
    script:
      src: init.sql
      sha256: "{{ dry_run.sha256 }}"
      commit: true

- name: A session without encryption is refused
  papyrus.ops.ecs_postgresql:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    login:
      sslmode: disable
  register: plaintext
  failed_when: not plaintext.refused_plaintext
"""

RETURN = r"""
session:
  description: The session by the server's own word. C(tls) is empty when it was not encrypted.
  returned: when there was one
  type: dict
  sample: {database: papyrus, user: papyrus_admin, tls: TLSv1.3, pid: 4711, server_version: "16.4"}
error:
  description:
    - What went wrong; nothing when nothing did.
    - Its C(kind) is V(sql), V(connect), V(locked), V(plaintext), V(hash), V(lost), V(limit), V(setting), V(psycopg),
      V(ended), V(program), or V(exec) when no answer arrived.
  returned: always
  type: dict
  sample: {kind: sql, message: column "nothing" does not exist, sqlstate: "42703", statement: 3, line: 5, column: 3}
rows:
  description: Rows by name of the query. Numbers of type numeric are texts, times are ISO 8601, bytes are hexadecimal.
  returned: with O(query)
  type: dict
  sample: {rows: [[SKU-CLI, health, "0.00"]]}
sha256:
  description: SHA-256 of the bytes that the container had.
  returned: with O(script)
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
committed:
  description: Whether the transaction was committed. Nothing when nobody could be asked.
  returned: with O(script)
  type: bool
  sample: true
asked_again:
  description: What the server said of the transaction when the session that began it did not tell its end.
  returned: with O(script)
  type: str
  sample: ""
alters:
  description: Whether the script changes anything, definitions or rows. Sequences are not looked at.
  returned: with O(script)
  type: bool
  sample: true
catalogue:
  description: Fingerprint of every definition in the database before and after the statements.
  returned: with O(script)
  type: dict
  sample: {before: 0cc175b9c0f1b6a831c399e269772661, after: 92eb5ffee6ae2fec3ad71c777531578f}
rows_written:
  description: Rows that were inserted, updated and deleted.
  returned: with O(script)
  type: int
  sample: 0
tags:
  description: Number of the server's answers by command.
  returned: with O(script)
  type: dict
  sample: {CREATE SCHEMA: 1, CREATE TABLE: 2}
notices:
  description: Notices and warnings of the server, at most 200.
  returned: with O(script)
  type: list
  elements: str
  sample: ['NOTICE: relation "products" already exists, skipping']
warnings_of_sql:
  description: What a C(ROLLBACK) leaves behind, see M(papyrus.ops.sql_script_info).
  returned: with O(script)
  type: list
  elements: dict
  sample: []
connected:
  description: Whether the server let the user in.
  returned: with O(login)
  type: bool
  sample: false
tls:
  description: Version of TLS by C(pg_stat_ssl). Empty without encryption and without a session.
  returned: with O(login)
  type: str
  sample: TLSv1.3
user:
  description: Who was let in.
  returned: with O(login)
  type: str
  sample: papyrus_app
sqlstate:
  description: SQLSTATE of the refusal where its text tells it.
  returned: with O(login)
  type: str
  sample: "28000"
refused_plaintext:
  description: Whether the server itself refused a session because it was not encrypted.
  returned: with O(login)
  type: bool
  sample: true
changes:
  description: What was made.
  returned: with O(prepare)
  type: list
  elements: str
  sample: [create role papyrus_app, let papyrus_app use schema papyrus_schema]
left_out:
  description: What could not be done yet, and why.
  returned: with O(prepare)
  type: list
  elements: str
  sample: []
stdout:
  description: What the program printed for people. The other results of M(papyrus.ops.ecs_exec) are there as well.
  returned: always
  type: str
  sample: "LOGIN papyrus_app in papyrus: TLSv1.3\n"
"""

from pathlib import Path

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _exec, _pg_work, _sql_script, _ssm_socket
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._pg_remote import PARTS, Place
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
PRIVILEGES = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
QUERY = {
    "name": {"type": "str", "required": True},
    "sql": {"type": "str", "required": True},
    "args": {"type": "list", "elements": "raw"},
}
SCRIPT = {
    "src": {"type": "path"},
    "content": {"type": "str"},
    "commit": {"type": "bool", "default": False},
    "sha256": {"type": "str"},
}
PREPARE = {
    "database": {"type": "str", "required": True},
    "role": {"type": "str"},
    "password_secret_id": {"type": "str", "no_log": False},
    "schema": {"type": "str"},
    "grants": {"type": "list", "elements": "str", "choices": PRIVILEGES, "default": []},
}
ARGUMENTS = {
    "cluster": {"type": "str", "required": True},
    "task": {"type": "str"},
    "service": {"type": "str"},
    "container": {"type": "str"},
    "python": {"type": "str", "default": "python"},
    "environment": {"type": "dict", "options": {part: {"type": "str", "no_log": False} for part in PARTS}},
    "secret_id": {"type": "str", "no_log": False},
    "dbname": {"type": "str"},
    "query": {"type": "list", "elements": "dict", "options": QUERY},
    "script": {
        "type": "dict",
        "options": SCRIPT,
        "mutually_exclusive": [("src", "content")],
        "required_one_of": [("src", "content")],
    },
    "login": {"type": "dict", "options": {"sslmode": {"type": "str", "choices": MODES}}},
    "prepare": {"type": "dict", "options": PREPARE},
    "timeout": {"type": "float", "default": 60},
    "connect_timeout": {"type": "float", "default": 60},
    "lock_timeout": {"type": "float", "default": 10},
    "application_name": {"type": "str", "default": "papyrus.ops"},
    "log": {"type": "path"},
    "cast": {"type": "path"},
    "private": {"type": "path"},
    "fail": {"type": "bool", "default": True},
}
TIMES = ("timeout", "connect_timeout", "lock_timeout")
WORK = ("query", "script", "login", "prepare")
STEPS = {"query": "E3", "script": "G1", "login": "E1", "prepare": "G1"}


def perform(work: _pg_work.Work, kind: str, asked: dict, script: _sql_script.Script | None) -> _pg_work.Done:
    given = asked[kind]
    work = _pg_work.with_login(work, asked["secret_id"], asked["dbname"], (asked["login"] or {}).get("sslmode"))
    if script is not None:
        return _pg_work.script(work, script, given["commit"])
    if kind == "query":
        return _pg_work.query(work, given)
    if kind == "login":
        return _pg_work.login(work)
    wanted = {name: value for name, value in given.items() if value is not None}
    return _pg_work.prepare(work, _pg_work.Wanted(**wanted))


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("task", "service"), WORK],
        required_one_of=[("task", "service"), WORK],
    )
    redact_results(module)
    asked = module.params
    kind = next(name for name in WORK if asked[name] is not None)
    for name, error in (
        ("websockets", _ssm_socket.WEBSOCKETS_IMPORT_ERROR),
        ("pglast", _sql_script.PGLAST_IMPORT_ERROR),
    ):
        if error is not None and (name != "pglast" or kind == "script"):
            module.fail_json(msg=missing_required_lib(name), exception=error, step=STEPS[kind])
    clients = _aws.module_clients(module)

    def register(password: str) -> None:
        module.no_log_values.add(password)  # a last net: what leaves this module cannot contain it
        if asked["private"]:
            Redactor.register(asked["private"], "db-password", password)

    try:
        target = _exec.Target(**{name: asked[name] or "" for name in ("cluster", "task", "service", "container")})
        work = _pg_work.Work(
            calls=Calls(clients),
            run=lambda command, files: _exec.run_command(clients, target, command, files),
            place=Place(
                environment={part: name for part, name in (asked["environment"] or {}).items() if name},
                **{name: asked[name] for name in ("python", "application_name", *TIMES)},
            ),
            files=_exec.Files(**{name: Path(asked[name]) for name in ("log", "cast", "private") if asked[name]}),
            register=register,
            where=f"task {asked['task']}" if asked["task"] else f"service {asked['service']} of {asked['cluster']}",
            fail=asked["fail"],
        )
        script = None
        if kind == "script":
            script = _pg_work.read_script(*(asked[kind][name] for name in ("src", "content", "sha256")))
        if module.check_mode:
            reason = f"check mode: would {_pg_work.plan(kind, asked[kind], script)} in a container of {work.where}"
            module.exit_json(changed=False, skipped=True, msg=reason, **(script.as_dict() if script else {}))
        done = perform(work, kind, asked, script)
    except _pg_work.PgProblem as exc:
        module.fail_json(msg=str(exc), step=STEPS[kind], changed=exc.changed, **exc.result)
    except _aws.AwsFailure as exc:
        module.fail_json(msg=str(exc), step=STEPS[kind])
    except (ValueError, OSError) as exc:
        module.fail_json(msg=f"{kind} was not begun, or its files could not be written: {exc}", step=STEPS[kind])
    # Said explicitly: Ansible takes any other exit code of the container for a failure of the task.
    module.exit_json(failed=False, changed=done.changed, **done.result)


if __name__ == "__main__":
    main()
