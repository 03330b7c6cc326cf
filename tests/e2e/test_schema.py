"""G1: a schema through ECS Exec: rehearsed, applied as the same bytes, whole or not at all, and said so truly."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from . import harness
from .services import IDLE, Services, unique
from .test_ecs_exec import MODULE, Container, Ran
from .together import RunningTogether

POSTGRESQL = MODULE.with_name("ecs_postgresql.py")
PLAYBOOK = "playbooks/schema.yml"
OWNER_SECRET = "papyrus/prd/db-master"
ENVIRONMENT = {"host": "DB_HOST", "port": "DB_PORT", "dbname": "DB_NAME", "user": "DB_USER", "password": "DB_PASSWORD"}
FIRST = "CREATE SCHEMA s;\nCREATE TABLE s.t (a int PRIMARY KEY);\nINSERT INTO s.t VALUES (1);\n"

REPEATED = (
    "CREATE SCHEMA IF NOT EXISTS s;\nCREATE TABLE IF NOT EXISTS s.t (a int PRIMARY KEY);\n"
    "INSERT INTO s.t VALUES (1) ON CONFLICT DO NOTHING;\n"
)


class Database:
    """A database of the test's own in the permanent instance, and a service whose task works in it."""

    def __init__(self, service: str, folder: Path, name: str) -> None:
        self.container = Container(service, folder, POSTGRESQL)
        self.folder = folder
        self.name = name

    def work(self, **options: Any) -> Ran:
        """The module as the owner of the database, with the container's names."""
        given = {"container": "app", "environment": ENVIRONMENT, "secret_id": OWNER_SECRET, "dbname": self.name}
        return self.container.run(**{**given, "fail": True, **options})

    def script(self, content: str, commit: bool = True, **options: Any) -> Ran:
        return self.work(script={"content": content, "commit": commit}, **options)

    def connect(self, dbname: str = "") -> psycopg.Connection[tuple[Any, ...]]:
        """As the owner, from here, without the product's code."""
        manager, rds = harness.client("secretsmanager"), harness.client("rds")
        owner = json.loads(manager.get_secret_value(SecretId=OWNER_SECRET)["SecretString"])
        endpoint = rds.describe_db_instances(DBInstanceIdentifier="papyrus-prd")["DBInstances"][0]["Endpoint"]
        return psycopg.connect(
            host=endpoint["Address"],
            port=endpoint["Port"],
            user=owner["username"],
            password=owner["password"],
            dbname=dbname or self.name,
            sslmode="verify-full",
            sslrootcert=harness.facts()["ca_file"],
            connect_timeout=10,
            autocommit=True,
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(sql).fetchall()

    @property
    def tables(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 's' ORDER BY 1")]


def sessions(database: Database, after: int) -> list[dict[str, Any]]:
    """ExecuteCommand calls for the database's own task since then; other tests work beside this one."""
    task, calls = database.container.task(), harness.calls(after)
    return [c for c in calls if c["operation"] == "ExecuteCommand" and c["parameters"]["task"] == task]


@pytest.fixture(scope="module", name="service")
def _service(services: Services) -> str:
    made = services.service("schema", container=IDLE)
    return str(made["papyrus_service"])


@contextmanager
def new_database(service: str, folder: Path) -> Iterator[Database]:
    name = unique("schema").replace("-", "_")
    database = Database(service, folder, name)
    ran = database.work(prepare={"database": name}, dbname=None)
    assert ran["changes"] == [f"create database {name}"], ran.text
    yield database
    with database.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module", name="made")
def _made(service: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with new_database(service, tmp_path_factory.mktemp("schema")) as database:
        yield database


@pytest.fixture(name="database")
def _database(made: Database) -> Database:
    with made.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS s CASCADE")
    return made


def test_G1_rehearsed_applied_and_applied_again(database: Database) -> None:
    before = harness.last_call()
    dry = database.script(FIRST, commit=False)
    assert len(sessions(database, before)) == 1
    assert (dry["changed"], dry["committed"], dry["alters"]) == (False, False, True)
    assert dry["sha256"] == sha256(FIRST.encode()).hexdigest()
    assert dry["session"]["tls"].startswith("TLSv1")
    assert database.tables == []
    script = {"content": FIRST, "sha256": dry["sha256"], "commit": True}
    applied = database.work(script=script)
    assert (applied["changed"], applied["committed"], applied["rows_written"]) == (True, True, 1)
    assert database.rows("SELECT a FROM s.t") == [(1,)]
    again = database.script(REPEATED)
    assert (again["changed"], again["committed"], again["alters"]) == (False, True, False)


def test_G1_bytes_that_changed_after_the_rehearsal_are_not_applied(database: Database) -> None:
    file = database.folder / "changed.sql"
    file.write_text(FIRST, "utf-8")
    dry = database.work(script={"src": str(file)})
    file.write_text(FIRST.replace("a int", "a bigint"), "utf-8")
    before = harness.last_call()
    ran = database.work(script={"src": str(file), "sha256": dry["sha256"], "commit": True})
    assert ran["failed"] and "changed.sql is not the file that was meant" in ran["msg"]
    assert sessions(database, before) == []
    assert database.tables == []


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (FIRST + "COMMIT;\n", "line 4: COMMIT"),
        (FIRST + "\n\nVACUUM s.t;", "line 6: VACUUM"),
        (FIRST + "CREATE INDEX CONCURRENTLY i ON s.t (a);", "line 4: CREATE INDEX CONCURRENTLY"),
        (FIRST + "\\i other.sql\n", "line 4: \\i is a command of psql"),
        ("COPY s.t FROM stdin;\n1\n\\.\n", "FROM STDIN"),
        (FIRST + "SELEC 1;", "line 4: syntax error"),
        ("-- nothing\n", "no statement"),
    ],
)
def test_G1_what_cannot_be_rehearsed_is_refused_before_any_session(database: Database, sql: str, words: str) -> None:
    before = harness.last_call()
    ran = database.script(sql, commit=False)
    assert ran["failed"] and words in ran["msg"] and ran["step"] == "G1"
    assert sessions(database, before) == []


def test_G1_a_failing_statement_in_the_middle_leaves_nothing(database: Database) -> None:
    ran = database.script(FIRST + "-- é\nSELECT nothing FROM s.t;\nCREATE TABLE s.u ();\n")
    assert ran["failed"] and ran["committed"] is False and ran["changed"] is False
    assert "statement 4, line 5, column 8" in ran["msg"] and "Nothing of it is left." in ran["msg"]
    assert ran["error"]["sqlstate"] == "42703"
    assert database.tables == []


def test_G1_a_megabyte_of_sql_arrives_whole(database: Database) -> None:
    made = random.Random(1)
    lines = "".join(f"INSERT INTO s.t VALUES ({n}, 'é{made.randbytes(500).hex()}');\n" for n in range(1050))
    sql = "CREATE SCHEMA s;\nCREATE TABLE s.t (a int, b text);\n" + lines
    assert len(sql.encode()) > 1 << 20
    ran = database.script(sql, timeout=240)
    assert ran["committed"] is True, ran.text[-2000:]
    assert ran["sha256"] == sha256(sql.encode()).hexdigest()
    assert ran["rows_written"] == 1050
    made = random.Random(1)
    whole = "".join("é" + made.randbytes(500).hex() for _number in range(1050))
    assert database.rows("SELECT string_agg(b, '' ORDER BY a) FROM s.t") == [(whole,)]


def test_G1_a_wrong_password_of_the_owner_is_said_and_stands_nowhere(
    database: Database, services: Services, tmp_path: Path
) -> None:
    wrong = "wrong'pass\\word-" + os.urandom(6).hex()
    secret = services.raw_secret(json.dumps({"username": "papyrus_admin", "password": wrong}))["papyrus_secret_id"]
    log, cast, private = tmp_path / "x.log", tmp_path / "x.cast", tmp_path / "private"
    private.mkdir()
    (private / "redaction.key").write_bytes(os.urandom(32))
    (private / "redaction.known").touch()
    ran = database.script(FIRST, secret_id=secret, log=str(log), cast=str(cast), private=str(private))
    assert ran["failed"] and ran["error"]["sqlstate"] == "28P01"
    assert "password authentication failed" in ran["msg"] and "correct the secret" in ran["msg"]
    for text in (ran.text, log.read_text("utf-8"), cast.read_text("utf-8")):
        for spelling in (wrong, json.dumps(wrong)[1:-1], wrong.encode().hex()):
            assert spelling not in text
    assert database.tables == []


def test_G1_no_password_is_in_the_arguments_of_any_process(database: Database) -> None:
    manager = harness.client("secretsmanager")
    password = json.loads(manager.get_secret_value(SecretId=OWNER_SECRET)["SecretString"])["password"]
    seen: list[bytes] = []
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(database.script, "SELECT pg_sleep(2);")
        while not running.done():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.append(path.read_bytes())
            time.sleep(0.1)
    assert running.result()["committed"] is True
    assert any(b"zlib.decompress" in text for text in seen), "the program was seen while it ran"
    assert not any(password.encode() in text for text in seen)


def test_E1_plaintext_is_refused_by_the_server(database: Database) -> None:
    ran = database.work(login={"sslmode": "disable"})
    assert not ran.result.get("failed")
    assert (ran["connected"], ran["refused_plaintext"], ran["sqlstate"], ran["tls"]) == (False, True, "28000", "")
    assert database.work(login={})["tls"].startswith("TLSv1")


def test_G1_database_role_and_grants_are_made_once(database: Database, services: Services) -> None:
    role = unique("role").replace("-", "_")
    secret = services.raw_secret(json.dumps({"password": "p" + os.urandom(12).hex()}))["papyrus_secret_id"]
    wanted = {
        "database": database.name,
        "role": role,
        "password_secret_id": secret,
        "schema": "s",
        "grants": ["SELECT"],
    }
    first = database.work(prepare=wanted)
    assert first["changes"] == [f"create role {role}"]
    assert first["left_out"] == ["grants: there is no schema s yet"]
    database.script(FIRST)
    second = database.work(prepare=wanted)
    assert second["changes"] == [f"let {role} use schema s", f"grant SELECT on s.t to {role}"]
    third = database.work(prepare=wanted)
    assert (third["changed"], third["changes"]) == (False, [])
    login = database.work(login={}, secret_id=services.raw_secret(login_of(role, secret))["papyrus_secret_id"])
    assert login["user"] == role
    with database.connect() as connection:
        connection.execute(f"DROP SCHEMA s CASCADE; DROP ROLE {role}")


def login_of(role: str, secret: str) -> str:
    value = json.loads(harness.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    return json.dumps({"username": role, "password": value["password"]})


def until_it_runs(database: Database) -> int:
    """Server process of the script's session, once its transaction has a number and it sleeps."""
    deadline = time.monotonic() + 60
    sql = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE 'SELECT pg_sleep%' AND backend_xid IS NOT NULL"
    )
    while not (found := database.rows(sql)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return int(found[0][0])


def programs(database: Database) -> list[int]:
    """Processes of the PostgreSQL program in the database's own task."""
    shell = Container(database.container.service, database.folder)
    own = shell.run(command="echo $ECS_CONTAINER_METADATA_URI_V4", container="app")["stdout"].strip().encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0")  # not the shell around it
            if b"python" in arguments[0] and b"zlib" in arguments[2] and own in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    assert own and found
    return found


@pytest.mark.soak
def test_G1_a_program_that_is_killed_in_the_middle_is_asked_about(database: Database) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(database.script, FIRST + "SELECT pg_sleep(30);")
        until_it_runs(database)
        for process in programs(database):
            os.kill(process, signal.SIGKILL)
        ran = running.result()
    assert ran["failed"] and ran["committed"] is False and ran["rc"] == 137
    assert "asked again, the server says" in ran["msg"] and "aborted" in ran["asked_again"]
    assert database.tables == []


@contextmanager
def cut_after(database: Database, size: int) -> Iterator[None]:
    """The next session's connection ends without a word after so many bytes of output."""
    task = database.container.task()
    rule = {"service": "ssmmessages", "operation": "OpenDataChannel", "times": 1, "match": {"task": task}}
    harness.add_faults({**rule, "stream": {"cut_after": size}})
    try:
        yield
    finally:
        harness.remove_faults(task)


def test_G1_a_session_cut_in_the_middle_of_an_apply_is_asked_about(database: Database) -> None:
    """The program may go on when nobody listens any more: what counts is what the server says at the end."""
    log = database.folder / "cut.log"
    statements = "".join(f"SELECT pg_sleep(0.3);\nINSERT INTO s.t VALUES ({n});\n" for n in range(2, 14))
    with cut_after(database, 600):
        ran = database.script(FIRST + statements, log=str(log))
    assert ran["failed"] and ran["outcome"] == "indeterminate"
    assert ran["committed"] is bool(database.tables), "what is said is what is"
    assert ran["asked_again"].startswith("asked again, the server says of transaction ")
    assert ran["asked_again"] in log.read_text("utf-8") and ran["asked_again"] in ran["msg"]


@pytest.mark.soak
def test_G1_a_session_cut_before_the_transaction_had_a_number_is_indeterminate(database: Database) -> None:
    with cut_after(database, 60):
        ran = database.script(FIRST)
    assert ran["failed"] and ran["committed"] is None and ran["changed"] is False
    assert "INDETERMINATE: nobody knows whether it was committed" in ran["msg"]
    assert "its transaction's number never arrived" in ran["msg"]


@pytest.mark.soak
def test_G1_a_table_in_use_is_not_waited_for_longer_than_allowed(database: Database) -> None:
    database.script(FIRST)
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE s.t")
        ran = database.script("ALTER TABLE s.t ADD b int;", lock_timeout=4)
        pid = other.info.backend_pid
    assert ran["failed"] and ran["error"]["sqlstate"] == "55P03"
    assert f"waited 4.0 s (lock_timeout) for a lock of pid {pid}" in ran["msg"]
    assert "pg_terminate_backend" in ran["msg"]


def variables_for(folder: Path, database: Database, sql: str) -> dict[str, Any]:
    """Inventory variables of schema.yml with this file for this database."""
    file = folder / f"{database.name}.sql"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(sql, "utf-8")
    return {
        "papyrus_service": database.container.service,
        "papyrus_task_family": database.container.service,
        "papyrus_db_name": database.name,
        "papyrus_db_schema": "s",
        "papyrus_db_schema_file": str(file),
    }


def run_playbook(folder: Path, database: Database, sql: str, *arguments: str) -> harness.Smoke:
    return harness.RunningSmoke(folder, variables_for(folder, database, sql), arguments, PLAYBOOK).end()


def test_G1_the_playbook_keeps_its_evidence_makes_no_alb_and_stops_at_a_rehearsal_that_failed(
    database: Database, service: str, tmp_path: Path
) -> None:
    before = harness.last_call()
    with new_database(service, tmp_path) as other:
        files = {"first": (database, FIRST), "failed": (other, FIRST + "SELECT 1/0;\n")}
        cases = {case: variables_for(tmp_path, *file) for case, file in files.items()}
        smokes = RunningTogether(tmp_path / "first", cases, PLAYBOOK).smokes()
        assert other.tables == []
    failed, smoke = smokes["failed"], smokes["first"]
    assert failed.exit_code != 0
    assert failed.verdict["result"] == "FAILED"
    assert failed.verdict["first_failure"]["step"] == "G1"
    assert "division by zero" in failed.verdict["first_failure"]["cause"]
    names = [line["name"] for line in failed.lines]
    assert "schema_dryrun_exec.log" in names and "schema_apply_exec.log" not in names
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert smoke.verdict["result"] in ("PASSED", "WARNED")
    lines = {line["name"]: line for line in smoke.lines}
    for name, word in (("schema_dryrun_exec.log", "ROLLBACK"), ("schema_apply_exec.log", "COMMIT")):
        text = smoke.item(name)
        assert sha256(FIRST.encode()).hexdigest() in text
        assert f"\n{word}\n" in text and "exit code:  0" in text
        assert lines[name]["status"] == "ok" and lines[name]["step"] == "G1"
    assert "grant SELECT on s.t to papyrus_app" in smoke.item("schema_grants_exec.log")
    suffix = smoke.run_id.rsplit("-", 1)[1]
    assert not [c for c in harness.calls(before) if c["operation"].startswith("Create") and suffix in json.dumps(c)]
    again = run_playbook(tmp_path / "again", database, REPEATED)
    assert again.exit_code == 0, again.output[-4000:]
    assert "CATALOGUE: unchanged; 0 rows written" in again.item("schema_apply_exec.log")


@pytest.mark.soak
def test_G1_check_mode_opens_no_session(database: Database, tmp_path: Path) -> None:
    before = harness.last_call()
    smoke = run_playbook(tmp_path, database, FIRST, "--check")
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert f"would rehearse (ROLLBACK) and then apply (COMMIT) {database.name}.sql" in smoke.output
    assert sessions(database, before) == []
    assert smoke.bundles == []
