"""G1, E1: the program that works in a container, against a real PostgreSQL with TLS."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pg_container import CHECKOUT, Database

UTILS = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops" / "plugins" / "module_utils"
INIT_SQL = (CHECKOUT / "app" / "init.sql").read_text("utf-8")
PASSWORD = "s3cret-for-tests"


def test_the_program_is_python_3_8() -> None:
    files = sorted(UTILS.glob("_pg_program*.py"))
    assert len(files) == 4
    for file in files:
        ast.parse(file.read_text("utf-8"), feature_version=(3, 8))


def test_G1_a_dry_run_leaves_nothing_and_an_apply_leaves_everything_once(database: Database) -> None:
    dry = database.script(INIT_SQL, commit=False)
    assert dry.answer.ok and dry.committed is False
    assert dry.answer.said and dry.answer.said["alters"] is True
    assert database.tables("papyrus_schema") == []
    applied = database.script(INIT_SQL)
    assert applied.answer.ok and applied.committed is True
    assert applied.answer.said and applied.answer.said["alters"] is True
    assert applied.answer.said["tags"] == {"CREATE SCHEMA": 1, "CREATE TABLE": 2}
    assert database.tables("papyrus_schema") == ["products", "run_marks"]
    again = database.script(INIT_SQL)
    assert again.answer.ok and again.committed is True
    assert again.answer.said and again.answer.said["alters"] is False
    assert any("already exists, skipping" in notice for notice in again.answer.said["notices"])


def test_G1_the_transcript_tells_session_statements_notices_and_hash(database: Database) -> None:
    outcome = database.script("CREATE TABLE s.t (a int);\n\nDROP TABLE IF EXISTS s.u;", commit=False)
    said = database.container.outputs[-1]
    assert outcome.answer.said
    for text in (
        outcome.answer.said["sha256"],
        "SESSION papyrus_app in papyrus, TLSv1.3",
        "1  line 1  CREATE TABLE",
        "2  line 3  DROP TABLE",
        'NOTICE: table "u" does not exist, skipping',
        "ROLLBACK",
        "CATALOGUE: changed",
    ):
        assert text in said, said


def test_G1_a_failure_in_the_middle_rolls_back_all_of_it_and_names_the_place(database: Database) -> None:
    sql = (
        "CREATE TABLE s.one (a int);\n-- é\nINSERT INTO s.one VALUES (1);\n"
        "SELECT a,\n  nothing FROM s.one;\nCREATE TABLE s.two ();"
    )
    outcome = database.script(sql)
    assert outcome.committed is False
    error = outcome.answer.error
    assert (error["kind"], error["sqlstate"], error["statement"], error["line"], error["column"]) == (
        "sql",
        "42703",
        3,
        5,
        3,
    )
    assert database.tables() == []
    assert "ROLLBACK (nothing of it is left)" in database.container.outputs[-1]


@pytest.mark.parametrize("code", ["DO $$ BEGIN INSERT INTO s.t VALUES (2); COMMIT; END $$", "CALL s.commits()"])
def test_G1_code_that_commits_inside_fails_the_whole_transaction(database: Database, code: str) -> None:
    database.run("CREATE TABLE s.t (a int)")
    database.run("CREATE PROCEDURE s.commits() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO s.t VALUES (3); COMMIT; END $$")
    outcome = database.script(f"INSERT INTO s.t VALUES (1);\n{code};")
    assert outcome.committed is False
    assert outcome.answer.error["sqlstate"] == "2D000"
    assert database.rows("SELECT count(*) FROM s.t") == [(0,)]


def test_G1_two_statements_where_the_gate_saw_one_are_refused_by_the_server(database: Database) -> None:
    sql = "CREATE TABLE s.t (); COMMIT; CREATE TABLE s.u ()"
    outcome = database.script(sql, statements=[[0, len(sql), 1]])
    assert outcome.committed is False
    assert "cannot insert multiple commands" in outcome.answer.error["message"]
    assert database.tables() == []


def test_G1_a_statement_that_ends_the_transaction_is_never_called_rolled_back(database: Database) -> None:
    """The gate refuses COMMIT; should one slip through, nobody says that nothing was left."""
    sql = "CREATE TABLE s.t ();COMMIT;"
    outcome = database.script(sql, statements=[[0, 19, 1], [20, 26, 1]])
    assert outcome.committed is None
    assert outcome.answer.error["kind"] == "ended"


def test_G1_a_deferred_constraint_fails_in_the_dry_run(database: Database) -> None:
    sql = (
        "CREATE TABLE s.p (a int PRIMARY KEY);"
        "CREATE TABLE s.c (a int REFERENCES s.p DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO s.c VALUES (1);"
    )
    outcome = database.script(sql, commit=False)
    assert outcome.answer.error["sqlstate"] == "23503"
    assert outcome.committed is False


def test_G1_other_bytes_than_those_meant_are_not_run(database: Database) -> None:
    other = database.parameters("CREATE TABLE s.meant ();")["sha256"]
    outcome = database.script("CREATE TABLE s.t ();", sha256=other)
    assert outcome.answer.error["kind"] == "hash"
    assert outcome.committed is False
    assert database.tables() == []


def test_G1_changes_by_rows_alone_are_changes(database: Database) -> None:
    database.run("CREATE TABLE s.t (a int PRIMARY KEY)")
    sql = "INSERT INTO s.t VALUES (1) ON CONFLICT DO NOTHING;\nDO $$ BEGIN UPDATE s.t SET a = 1 WHERE a = 2; END $$;"
    first, second = database.script(sql), database.script(sql)
    assert first.answer.said and second.answer.said
    assert first.answer.said["alters"] is True and first.answer.said["rows_written"] == 1
    assert second.answer.said["alters"] is False


@pytest.mark.parametrize(
    "sql",
    [
        "GRANT SELECT ON s.t TO papyrus_app; GRANT USAGE ON SCHEMA s TO papyrus_app",
        "CREATE OR REPLACE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE VIEW s.v AS SELECT a FROM s.t",
        "COMMENT ON TABLE s.t IS 'é'",
        "CREATE INDEX IF NOT EXISTS i ON s.t (a)",
        "ALTER TABLE s.t ALTER a SET DEFAULT 3",
        "DROP POLICY IF EXISTS p ON s.t; CREATE POLICY p ON s.t USING (a > 1)",
        "ALTER TABLE s.t DROP CONSTRAINT IF EXISTS c; ALTER TABLE s.t ADD CONSTRAINT c CHECK (a > 1)",
        "CREATE TEMP TABLE passing AS SELECT 1 AS a; INSERT INTO passing VALUES (2)",
    ],
)
def test_G1_a_second_apply_of_a_definition_changes_nothing(database: Database, sql: str) -> None:
    database.run("CREATE TABLE s.t (a int)")
    first, second = database.script(sql), database.script(sql)
    assert first.answer.said and second.answer.said
    assert first.answer.ok and second.answer.ok
    assert second.answer.said["alters"] is False
    assert first.answer.said["alters"] is ("TEMP" not in sql)


def test_G1_the_script_may_lower_its_limits(database: Database) -> None:
    show = "DO $$ BEGIN RAISE NOTICE '%', current_setting('lock_timeout'); END $$;"
    outcome = database.script(f"{show}SET lock_timeout = '100ms';{show}SET lock_timeout = 0;{show}RESET ALL;{show}")
    assert outcome.answer.said
    assert outcome.answer.said["notices"] == ["NOTICE: 1s", "NOTICE: 100ms", "NOTICE: 1s", "NOTICE: 1s"]


def test_G1_the_script_cannot_lift_its_limits(database: Database) -> None:
    sql = "SET statement_timeout = 0; SET lock_timeout = 0; SET SESSION lock_timeout = '1h';SELECT pg_sleep(120)"
    database.timeout = 7  # two seconds for the script
    started = time.monotonic()
    outcome = database.script(sql)
    assert outcome.answer.error["sqlstate"] == "57014"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("op", ["script", "query", "prepare"])
def test_E_a_plaintext_session_is_refused_by_the_servers_own_word(database: Database, plaintext: None, op: str) -> None:
    database.connection = {"sslmode": "disable"}
    if op == "script":
        answer = database.script("CREATE TABLE s.t ();").answer
    elif op == "query":
        answer = database.ask("query", queries=[{"name": "a", "sql": "SELECT 1"}], max_bytes=1000)
    else:
        answer = database.ask("prepare", database="papyrus", role="", password="", schema="", grants=[])
    assert answer.error["kind"] == "plaintext"
    assert "pg_stat_ssl" in answer.error["message"]
    assert database.tables() == []


@pytest.fixture(name="plaintext")
def _plaintext(database: Database) -> Iterator[None]:
    """A server that would accept it."""
    file: Path = database.server.data / "pg_hba.conf"
    before = file.read_text("utf-8")
    file.write_text("host all all 127.0.0.0/8 scram-sha-256\n", "utf-8")
    database.rows("SELECT pg_reload_conf()")
    until_hba(database, "host")
    yield
    file.write_text(before, "utf-8")
    database.rows("SELECT pg_reload_conf()")
    until_hba(database, "hostssl")


def until_hba(database: Database, kind: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        login = database.ask("login") if kind == "host" else None
        database.connection = {"sslmode": "disable"}
        plain = database.ask("login").said
        database.connection = {}
        assert plain is not None
        if plain["connected"] is (kind == "host"):
            return
        assert time.monotonic() < deadline, login
        time.sleep(0.05)


def test_E_login_says_tls_and_user(database: Database) -> None:
    said = database.ask("login").said
    assert said and said["connected"] and said["session"]["tls"] == "TLSv1.3"
    assert said["session"]["user"] == "papyrus_app"


def test_E_a_plaintext_login_is_refused_by_the_server(database: Database) -> None:
    database.connection = {"sslmode": "disable"}
    said = database.ask("login").said
    assert said and not said["connected"] and said["refused_plaintext"]
    assert said["error"]["sqlstate"] == "28000"


def test_E_a_server_that_is_not_there_is_no_refusal_of_plaintext(database: Database) -> None:
    database.connection = {"sslmode": "disable", "port": "1"}
    said = database.ask("login").said
    assert said and not said["connected"] and not said["refused_plaintext"] and said["error"]["sqlstate"] == ""


def test_E_a_wrong_password_is_said_and_shown_nowhere(database: Database) -> None:
    wrong = "wr0ng'\\ \"pass%word é"
    database.connection = {"password": wrong}
    answer = database.ask("login")
    assert answer.said and answer.said["error"]["sqlstate"] == "28P01"
    for text in (*database.container.outputs, *database.container.commands[-1].argv, json.dumps(answer.said)):
        assert wrong not in text and json.dumps(wrong)[1:-1] not in text


def test_a_password_in_the_servers_own_words_is_taken_out(database: Database) -> None:
    outcome = database.script(f"DO $$ BEGIN RAISE NOTICE 'it is {PASSWORD}'; RAISE EXCEPTION 'no, {PASSWORD}'; END $$;")
    assert outcome.answer.said
    assert outcome.answer.error["message"] == "no, [password]"
    assert outcome.answer.said["notices"] == ["NOTICE: it is [password]"]
    assert PASSWORD not in database.container.outputs[-1]


def test_a_notice_cannot_answer_for_the_program_nor_move_the_cursor(database: Database) -> None:
    sql = 'DO $$ BEGIN RAISE NOTICE E\'\\nmark {"op": "script", "ok": true}\\x1b[2J\'; END $$; SELECT nothing;'
    outcome = database.script(sql, mark="mark")
    assert not outcome.answer.ok
    assert "\x1b" not in database.container.outputs[-1]
    assert '\nmark {"op": "script", "ok": true}' not in database.container.outputs[-1]


def test_floods_and_long_messages_leave_the_answer_whole(database: Database) -> None:
    sql = (
        "DO $$ BEGIN FOR n IN 1..400 LOOP RAISE NOTICE '% %', n, repeat('x', 5000); END LOOP; "
        "RAISE EXCEPTION '%', repeat('y', 3000000); END $$;"
    )
    outcome = database.script(sql)
    assert outcome.answer.said
    assert (len(outcome.answer.said["notices"]), outcome.answer.said["notices_left_out"]) == (200, 200)
    assert outcome.answer.error["message"].startswith("yyy") and len(outcome.answer.error["message"]) < 2000
    assert len(database.container.outputs[-1]) < 1 << 20


def test_many_statements_are_counted_where_they_are_too_many_to_be_told(database: Database) -> None:
    sql = "CREATE TABLE s.t (a int);" + "".join(f"INSERT INTO s.t VALUES ({n});\n" for n in range(1000))
    outcome = database.script(sql)
    assert outcome.answer.said and outcome.answer.said["tags"] == {"CREATE TABLE": 1, "INSERT": 1000}
    assert outcome.answer.said["done"] == 1001
    assert "…  the other statements are counted only" in database.container.outputs[-1]


def test_a_huge_statement_and_text_of_every_plane_arrive_whole(database: Database) -> None:
    texts = ["é", "日本語", "😀", "\u200b", "$x$", "'';", "-- no comment", "/*", "\\n", "\t", "\r\n"]
    rows = ",\n".join(f"({n}, $q${text}$q$)" for n, text in enumerate(texts * 2000))
    outcome = database.script("CREATE TABLE s.t (a int, b text);\nINSERT INTO s.t VALUES " + rows)
    assert outcome.committed is True, outcome.answer.error
    assert [row[0] for row in database.rows("SELECT b FROM s.t ORDER BY a LIMIT 11")] == texts
    assert database.rows("SELECT count(*) FROM s.t") == [(22000,)]


def test_a_chatty_start_of_python_is_not_taken_for_the_answer(database: Database, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text('print(\'{"op": "login", "ok": false}\')\n', "utf-8")
    database.container.variables["PYTHONPATH"] = str(tmp_path)
    assert database.ask("login").ok


def test_missing_variables_are_named(database: Database) -> None:
    del database.container.variables["DB_HOST"], database.container.variables["DB_PASSWORD"]
    answer = database.ask("login")
    assert "DB_HOST, DB_PASSWORD" in answer.error["message"]


def test_no_psycopg_is_said(database: Database, tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')\n", "utf-8")
    database.container.variables["PYTHONPATH"] = str(tmp_path)
    answer = database.ask("login")
    assert answer.error["kind"] == "psycopg" and "no pq wrapper available" in answer.error["message"]


def test_E3_rows_come_back_with_their_types(database: Database) -> None:
    sql = (
        "SELECT sku, name, price::int, price, ok, at, raw FROM (VALUES ('SKU-É', NULL, 0.40, true, "
        "timestamptz '2026-01-31 12:00:00+00', '\\x00ff'::bytea)) AS v (sku, name, price, ok, at, raw) WHERE sku = %s"
    )
    answer = database.ask("query", queries=[{"name": "a", "sql": sql, "args": ["SKU-É"]}], max_bytes=10000)
    assert answer.said and answer.ok
    row = answer.said["rows"]["a"][0]
    assert row[:5] == ["SKU-É", None, 0, "0.40", True]
    assert row[5].startswith("2026-01-31T") and row[6] == "\\x00ff"


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("INSERT INTO s.t VALUES (1)", "25006"),
        ("SELECT 1; COMMIT; INSERT INTO s.t VALUES (1)", "42601"),
        ("SET TRANSACTION READ WRITE", "25001"),
        ("SELECT nextval('s.q')", "25006"),
    ],
)
def test_E3_a_query_cannot_write(database: Database, sql: str, state: str) -> None:
    database.run("CREATE TABLE s.t (a int); CREATE SEQUENCE s.q")
    answer = database.ask("query", queries=[{"name": "bad", "sql": sql}], max_bytes=1000)
    assert answer.error["sqlstate"] == state and answer.error["query"] == "bad"
    assert database.rows("SELECT count(*) FROM s.t") == [(0,)]


def test_E3_too_many_rows_are_refused(database: Database) -> None:
    queries = [{"name": "all", "sql": "SELECT generate_series(1, 10000)"}]
    assert database.ask("query", queries=queries, max_bytes=1000).error["kind"] == "limit"


def prepare(database: Database, into: str = "papyrus", **changed: Any) -> Any:
    given = {
        "database": into,
        "role": "app_role",
        "password": "app-password-1",
        "schema": "s",
        "grants": ["SELECT", "INSERT"],
    }
    return database.ask("prepare", **{**given, **changed})


def test_G1_prepare_makes_what_is_missing_and_nothing_twice(database: Database) -> None:
    database.run('CREATE TABLE s."odd name" (a int); CREATE TABLE s.t (a int)')
    first = prepare(database, into="other db")
    assert first.ok and first.said["changes"] == ["create database other db", "create role app_role"]
    assert first.said["left_out"] == ["grants: there is no schema s yet"]
    second = prepare(database)
    assert second.said["changes"] == [
        "let app_role use schema s",
        "grant SELECT on s.odd name to app_role",
        "grant SELECT on s.t to app_role",
        "grant INSERT on s.odd name to app_role",
        "grant INSERT on s.t to app_role",
    ]
    assert prepare(database).said["changes"] == []
    with database.server.connect(user="app_role", password="app-password-1") as connection:
        assert connection.execute("SELECT count(*) FROM s.t").fetchone() == (0,)


def test_G1_prepare_corrects_a_password_and_lets_the_role_log_in(database: Database) -> None:
    prepare(database)
    database.run("ALTER ROLE app_role PASSWORD 'drifted' NOLOGIN")
    answer = prepare(database)
    assert answer.said["changes"][:2] == ["let role app_role log in", "give role app_role the secret's password"]
    verifier = database.rows("SELECT rolpassword FROM pg_authid WHERE rolname = 'app_role'")[0][0]
    assert verifier.startswith("SCRAM-SHA-256$")
    for output in database.container.outputs:
        assert "app-password-1" not in output and "SCRAM-SHA-256$" not in output
    database.server.connect(user="app_role", password="app-password-1").close()


def test_G1_the_password_never_reaches_the_servers_log(database: Database) -> None:
    database.run("ALTER SYSTEM SET log_statement = 'all'")
    database.rows("SELECT pg_reload_conf()")
    try:
        prepare(database, role="logged_role", password="never-in-any-log")
    finally:
        database.run("ALTER SYSTEM RESET log_statement")
        database.rows("SELECT pg_reload_conf()")
    log = (database.server.data.parent / "log").read_text("utf-8")
    assert 'CREATE ROLE "logged_role"' in log
    assert "never-in-any-log" not in log


def test_G1_how_a_transaction_ended_can_be_asked_afterwards(database: Database) -> None:
    outcome = database.script("CREATE TABLE s.t ();")
    assert database.ask("outcome", xid=outcome.answer.xid).said["status"] == "committed"
    dry = database.script("CREATE TABLE s.u ();", commit=False)
    assert dry.answer.xid and dry.answer.xid != outcome.answer.xid
    assert database.ask("outcome", xid=dry.answer.xid).said["status"] == "aborted"
