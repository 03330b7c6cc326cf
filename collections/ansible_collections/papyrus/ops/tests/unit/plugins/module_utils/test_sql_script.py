# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""G1: what the gate lets into a transaction, what it refuses and where, what it warns of."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._sql_script import MAX_BYTES, examine, parser_version

ENDS = [
    "BEGIN",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "COMMIT AND CHAIN",
    "END",
    "END TRANSACTION",
    "ROLLBACK",
    "ROLLBACK AND CHAIN",
    "ABORT",
    "PREPARE TRANSACTION 'x'",
]
ALONE = [
    "COMMIT PREPARED 'x'",
    "ROLLBACK PREPARED 'x'",
    "CREATE DATABASE d",
    "DROP DATABASE IF EXISTS d",
    "ALTER DATABASE d SET TABLESPACE t",
    "CREATE TABLESPACE t LOCATION '/x'",
    "DROP TABLESPACE t",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "ALTER SYSTEM RESET ALL",
    "VACUUM",
    "VACUUM (ANALYZE) t",
    "CLUSTER",
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX TABLE CONCURRENTLY t",
    "REINDEX (CONCURRENTLY) INDEX i",
    "REINDEX (CONCURRENTLY TRUE) INDEX i",
    "REINDEX DATABASE",
    "REINDEX SYSTEM d",
    "REINDEX SCHEMA s",
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (create_slot)",
    "DROP SUBSCRIPTION s",
    "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
    "ALTER SUBSCRIPTION s SET PUBLICATION p",
    "ALTER SUBSCRIPTION s ADD PUBLICATION p WITH (refresh = true)",
    "ALTER SUBSCRIPTION s SET (two_phase = true)",
    "DISCARD ALL",
]
OUTSIDE = [
    "COPY t TO '/tmp/x'",
    "COPY t TO PROGRAM 'x'",
    "COPY t FROM PROGRAM 'x'",
    "COPY (SELECT 1) TO '/tmp/x'",
    "LOAD 'x'",
    "CHECKPOINT",
]
STREAMS = ["COPY t FROM STDIN", "COPY t TO STDOUT", "COPY t (a) FROM STDIN WITH (FORMAT csv)"]
ENCODINGS = [
    "SET client_encoding = 'LATIN1'",
    "SET NAMES 'LATIN1'",
    "SET client_encoding TO DEFAULT",
    "RESET client_encoding",
]
FINE = [
    "SAVEPOINT x",
    "RELEASE SAVEPOINT x",
    "ROLLBACK TO SAVEPOINT x",
    "CREATE INDEX i ON t (a)",
    "DROP INDEX i",
    "REINDEX TABLE t",
    "REINDEX (CONCURRENTLY FALSE) TABLE t",
    "CLUSTER t",
    "ANALYZE",
    "ANALYZE t",
    "ALTER DATABASE d SET work_mem = '1MB'",
    "ALTER TABLE t DETACH PARTITION p",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (create_slot = false)",
    "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false)",
    "ALTER SUBSCRIPTION s SET PUBLICATION p WITH (refresh = false)",
    "ALTER SUBSCRIPTION s DISABLE",
    "ALTER SUBSCRIPTION s SET (slot_name = NONE)",
    "DISCARD PLANS",
    "COPY t FROM '/data/x.csv'",
    "SET client_encoding = 'UTF8'",
    "SET NAMES 'utf-8'",
    "SET search_path = s",
    "SET lock_timeout = 0",
    "SET ROLE r",
    "DO $$ BEGIN COMMIT; END $$",
    "CALL p()",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN COMMIT; VACUUM; END'",
    "SELECT 'COMMIT; VACUUM'",
    'CREATE TABLE "COMMIT" ("VACUUM" int)',
    "ALTER TYPE t ADD VALUE 'x'",
    "NOTIFY n",
    "LOCK TABLE t",
]


def refused(sql: str) -> str:
    return examine(f"CREATE TABLE before ();\n\n  {sql};\n".encode(), "x.sql").refused


@pytest.mark.parametrize("sql", ENDS)
def test_G1_transactions_are_not_the_files_own(sql: str) -> None:
    assert "line 3" in refused(sql) and "begins or ends a transaction" in refused(sql)


@pytest.mark.parametrize("sql", ALONE)
def test_G1_what_runs_alone_is_refused(sql: str) -> None:
    assert "line 3" in refused(sql) and "cannot run inside a transaction block" in refused(sql)


@pytest.mark.parametrize("sql", OUTSIDE)
def test_G1_what_acts_outside_is_refused(sql: str) -> None:
    assert "line 3" in refused(sql) and "acts outside of the database" in refused(sql)


@pytest.mark.parametrize("sql", STREAMS)
def test_G1_data_beside_the_sql_are_refused(sql: str) -> None:
    assert "line 3" in refused(sql) and "STDIN" in refused(sql)


@pytest.mark.parametrize("sql", ENCODINGS)
def test_G1_the_encoding_stays_what_it_is(sql: str) -> None:
    assert "line 3" in refused(sql) and "how the rest of the file is read" in refused(sql)


@pytest.mark.parametrize("sql", FINE)
def test_G1_the_rest_may_run(sql: str) -> None:
    assert refused(sql) == ""


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 0, "empty"),
        (b" \r\n\t", 0, "empty"),
        (b"-- only a comment\n/* and another */", 0, "no statement"),
        (b";;;", 0, "no statement"),
        (b"SELECT 1;\n\\i other.sql\n", 2, "\\i is a command of psql"),
        (b"\\c other\nSELECT 1;", 1, "\\c is a command of psql"),
        (b"\\restrict abc\nSELECT 1;", 1, "\\restrict is a command of psql"),
        (b"SELECT 1 \\gexec\n", 1, "\\gexec is a command of psql"),
        (b"SELECT 1;\nSELECT :'name';", 2, "a variable of psql"),
        (b"SELECT 1;\nCOPY t FROM stdin;\n1\t2\n\\.\n", 3, "COPY … FROM STDIN in line 2"),
        (b"SELECT 1;\nSELEC 2;", 2, "syntax error"),
        (b"SELECT '\xc3\xa9\xf0\x9f\x98\x80';\nSELECT 1;\n  SELEC 2;", 3, "syntax error"),
        (b"SELECT 'open;\nSELECT 1;", 1, "unterminated"),
        (b"SELECT $$ open;\n", 1, "unterminated"),
        (b"SELECT 1;\nSELECT '\0';", 2, "NUL"),
        (b"SELECT 1;\n\nSELECT '\xe9';", 3, "not UTF-8"),
        (b"\xef\xbb\xbfSELECT 1;", 1, "byte order mark"),
        ("SELECT 1;".encode("utf-16"), 0, "UTF-16"),
        (b"SELECT 1;" + b" " * MAX_BYTES, 0, "more than"),
        (b"SELECT " + b"(" * 30000 + b"1" + b")" * 30000, 1, "memory exhausted"),
    ],
)
def test_G1_files_that_are_no_such_sql(content: bytes, line: int, words: str) -> None:
    script = examine(content, "x.sql")
    assert [finding.line for finding in script.refusals] == [line]
    assert words in script.refused and script.refused.startswith("x.sql is refused, nothing was run: ")


def test_G1_every_refusal_is_named_with_its_place() -> None:
    script = examine("-- é\nSELECT 1;\nCOMMIT;\n  /* x */ VACUUM;\n".encode(), "x.sql")
    assert [(found.line, found.column, found.statement) for found in script.refusals] == [(3, 1, 2), (4, 11, 3)]


def test_G1_statements_have_their_places_and_kinds() -> None:
    text = (
        "-- é\r\nCREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql AS $é$ SELECT 'é;😀' $é$;;\r\n"
        "/* x; */ WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a\r\n;\r\n"
        "CREATE UNIQUE INDEX i ON t (a); create materialized view v as select ';' -- end"
    )
    script = examine(text.encode(), "x.sql")
    assert script.refused == ""
    assert script.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert [statement.line for statement in script.statements] == [2, 3, 5, 5]
    assert [text[statement.start : statement.end].split()[0] for statement in script.statements] == [
        "CREATE",
        "WITH",
        "CREATE",
        "create",
    ]
    assert text[script.statements[0].start : script.statements[0].end].endswith("$é$")
    assert script.kinds == {"CREATE FUNCTION": 1, "CREATE INDEX": 1, "CREATE MATERIALIZED VIEW": 1, "INSERT": 1}


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT setval('q', 3)", "setval() is not undone"),
        ("INSERT INTO t SELECT pg_catalog.nextval('q')", "nextval() is not undone"),
        ("SELECT * FROM dblink('x', 'y') AS t (a int)", "another session"),
        ("SELECT lo_export(1, '/x')", "files of the server"),
        ("SELECT pg_terminate_backend(1)", "acts on the server at once"),
    ],
)
def test_G1_what_a_rollback_leaves_behind_is_warned_of(sql: str, words: str) -> None:
    script = examine(f"SELECT 1;\n{sql};".encode(), "x.sql")
    assert script.refused == ""
    assert [finding.line for finding in script.warnings] == [2]
    assert words in script.warnings[0].reason


def test_G1_definitions_are_not_calls() -> None:
    sql = "CREATE TABLE t (a int DEFAULT nextval('q')); CREATE VIEW v AS SELECT nextval('q')"
    assert examine(sql.encode(), "x.sql").warnings == []


def test_G1_a_file_with_many_statements_or_a_huge_one_is_read_in_one_go() -> None:
    many = "".join(f"INSERT INTO t VALUES ({n}, 'é');\n" for n in range(20000))
    script = examine(many.encode(), "x.sql")
    assert len(script.statements) == 20000
    assert script.statements[-1].line == 20000
    huge = "INSERT INTO t VALUES " + ",\n".join(f"({n}, 'é')" for n in range(20000))
    assert len(examine(huge.encode(), "x.sql").statements) == 1


def test_the_grammar_is_a_known_one() -> None:
    assert int(parser_version().partition(".")[0]) >= 17
