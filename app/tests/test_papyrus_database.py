"""/dbcheck and mark_cli against a real PostgreSQL: proof, refusals, hangs, death, recovery (A3, A6, A7)."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from papyrus import login_cli, mark_cli
from papyrus.errors import Reason, unavailable

RUN = "20260131T120000Z-abc234"
LIMIT = 5.0  # seconds: what README.md promises for any answer of /dbcheck
INIT_SQL = (Path(__file__).resolve().parents[1] / "init.sql").read_text()


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < LIMIT


def refused(client: Any, reason: Reason, path: str = "/dbcheck") -> Any:
    with bounded():
        answer = client.get(path)
    assert (answer.status_code, answer.json["reason"], answer.json["inserted"]) == (503, reason.value, False)
    for secret in ("s3cret", "127.0.0.1", "papyrus_app", "Traceback"):
        assert secret not in answer.text
    assert client.get("/healthz").status_code == 200
    return answer


def marks(database: Any) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        query = "SELECT run_id, path, task_arn, image_digest FROM papyrus_schema.run_marks ORDER BY path"
        return list(connection.execute(query).fetchall())


def test_a3_first_call_inserts_and_the_second_finds_the_row(client: Any, database: Any) -> None:
    first, second = client.get("/dbcheck"), client.get("/dbcheck")
    assert (first.status_code, first.json) == (200, {"inserted": True, "rows": 1, "run": None})
    assert (second.status_code, second.json) == (200, {"inserted": True, "rows": 0, "run": None})
    with database.connect() as connection:
        rows = connection.execute("SELECT sku, name, unit_price FROM papyrus_schema.products").fetchall()
    assert rows == [("SKU-APP", "health", 0)]
    assert marks(database) == []


def test_a3_a_run_leaves_its_mark_once(client: Any, database: Any) -> None:
    answers = [client.get(f"/dbcheck?run={RUN}").json for _ in range(2)]
    assert answers == [{"inserted": True, "rows": rows, "run": RUN} for rows in (1, 0)]
    assert marks(database) == [(RUN, "app", None, None)]


def test_a3_inserted_is_false_when_the_mark_was_not_kept(client: Any, database: Any) -> None:
    with database.connect() as connection:
        connection.execute("CREATE RULE drop_marks AS ON INSERT TO papyrus_schema.run_marks DO INSTEAD NOTHING")
        connection.execute("INSERT INTO papyrus_schema.products VALUES ('SKU-APP', 'health', 0)")
    assert client.get(f"/dbcheck?run={RUN}").json["inserted"] is False


def test_a6_verify_full_is_encrypted_and_says_so(client: Any) -> None:
    assert re.fullmatch(r"TLSv1\.[23]", client.get("/dbcheck").headers["X-Papyrus-Db-Tls"])


def test_a6_another_ca_is_refused(database: Any, make_client: Callable[..., Any]) -> None:
    other = str(database.certificates.other_ca)
    refused(make_client(database.settings(), PGSSLMODE="verify-full", PGSSLROOTCERT=other), Reason.TLS)


def test_a6_a_name_not_in_the_certificate_is_refused(database: Any, make_client: Callable[..., Any]) -> None:
    settings = {**database.settings(), "DB_HOST": "localhost"}
    client = make_client(settings, PGSSLMODE="verify-full", PGSSLROOTCERT=str(database.certificates.ca))
    refused(client, Reason.TLS)


def test_a6_plaintext_is_refused(database: Any, make_client: Callable[..., Any]) -> None:
    refused(make_client(database.settings(), PGSSLMODE="disable"), Reason.TLS)


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("DB_PASSWORD", "drifted", Reason.AUTHENTICATION),
        ("DB_USER", "nobody_here", Reason.AUTHENTICATION),
        ("DB_NAME", "nothing_here", Reason.DATABASE),
        ("DB_HOST", "no-such-host.invalid", Reason.NAME),
        ("DB_PORT", "not-a-port", Reason.NOT_CONFIGURED),
        ("DB_PORT", "1", Reason.REFUSED),
    ],
)
def test_a3_each_wrong_setting_has_its_reason(
    database: Any, make_client: Callable[..., Any], setting: str, value: str, reason: Reason
) -> None:
    refused(make_client({**database.settings(), setting: value}, PGSSLMODE="require"), reason)


def test_a3_a_message_that_quotes_the_password_is_masked_for_the_log() -> None:
    failure = unavailable(psycopg.OperationalError('connection failed: bad value\n"hunter2"'), False, "hunter2")
    assert failure.detail == 'connection failed: bad value "***"'
    assert str(failure) == Reason.ERROR.value


def test_a3_missing_tables(client: Any, database: Any) -> None:
    with database.connect() as connection:
        connection.execute("DROP SCHEMA papyrus_schema CASCADE")
    refused(client, Reason.SCHEMA)


def test_a3_missing_grants(database: Any, make_client: Callable[..., Any]) -> None:
    with database.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS weak")
        connection.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    settings = {**database.settings(), "DB_USER": "weak", "DB_PASSWORD": "weak"}
    refused(make_client(settings, PGSSLMODE="require"), Reason.PERMISSION)


def test_a3_a_locked_row_ends_in_bounded_time_and_heals(client: Any, database: Any) -> None:
    with database.connect() as holder:
        holder.execute("INSERT INTO papyrus_schema.products VALUES ('SKU-APP', 'health', 0)")
        refused(client, Reason.TIMEOUT)
        holder.rollback()
    assert client.get("/dbcheck").json["rows"] == 1


def test_a3_a_server_that_accepts_and_never_answers(make_client: Callable[..., Any], database: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {**database.settings(), "DB_PORT": str(silent.getsockname()[1])}
        refused(make_client(settings, PGSSLMODE="require"), Reason.TIMEOUT)


def test_a3_a_frozen_server_is_left_in_time_and_used_again_afterwards(client: Any, database: Any) -> None:
    database.freeze()
    try:
        refused(client, Reason.TIMEOUT)
    finally:
        database.thaw()
    assert client.get(f"/dbcheck?run={RUN}").json["inserted"] is True


@pytest.fixture
def stalled(client: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, threading.Event]:
    """The client's app, with a server-side sleep in front of the insert; the event says that it has begun."""
    begun = threading.Event()
    original = psycopg.Connection.execute

    def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        if "papyrus_schema.products" in str(query) and "INSERT" in str(query):
            begun.set()
            original(self, "SELECT set_config('statement_timeout', '0', false)")
            original(self, "SELECT pg_sleep(60)")
        return original(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    return client, begun


def test_a3_a_statement_that_never_ends_is_cut_by_the_client(stalled: Any, database: Any) -> None:
    client, begun = stalled
    refused(client, Reason.TIMEOUT)
    assert begun.is_set()


def test_a3_calls_that_were_cut_give_their_slots_back(
    stalled: Any, database: Any, make_client: Callable[..., Any]
) -> None:
    client = make_client({**database.settings(), "PAPYRUS_DB_BUDGET": "0.5"}, PGSSLMODE="require")
    for _ in range(3):  # one more than there are slots
        refused(client, Reason.TIMEOUT)


def test_a3_a_server_that_dies_in_the_middle_and_comes_back(stalled: Any, database: Any, monkeypatch: Any) -> None:
    client, begun = stalled
    killer = threading.Thread(target=lambda: (begun.wait(4), database.stop()))
    killer.start()
    try:
        refused(client, Reason.LOST)
        killer.join()
        monkeypatch.undo()
        for name, value in (("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", str(database.certificates.ca))):
            monkeypatch.setenv(name, value)
        refused(client, Reason.REFUSED)
    finally:
        killer.join()
        database.start()
    assert client.get(f"/dbcheck?run={RUN}").json["inserted"] is True


def test_a3_calls_beyond_the_slots_are_refused_at_once(make_client: Callable[..., Any], database: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = make_client({**database.settings(), "DB_PORT": str(silent.getsockname()[1])}, PGSSLMODE="require")
        reasons: list[str] = []
        app = client.application
        calls = [
            threading.Thread(target=lambda: reasons.append(app.test_client().get("/dbcheck").json["reason"]))
            for _ in range(5)
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    assert sorted(reasons) == ["busy"] * 3 + ["timeout"] * 2


def environment(monkeypatch: pytest.MonkeyPatch, database: Any, **more: str) -> None:
    for name, value in {**database.settings(), "PGSSLMODE": "require", **more}.items():
        monkeypatch.setenv(name, value)


def test_a7_the_command_inserts_and_prints_what_postgresql_says(
    database: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, database)
    assert mark_cli.main(["--run", RUN]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["INSERT 0 1", f"MARK: {RUN} cli committed"]
    assert mark_cli.main(["--run", RUN]) == 0
    assert capsys.readouterr().out.startswith("INSERT 0 0\n")
    assert marks(database) == [(RUN, "cli", None, None)]


def test_a7_the_command_fails_with_a_reason_and_no_password(
    database: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, database, PGSSLMODE="disable")
    assert mark_cli.main(["--run", RUN]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("database not usable: tls")
    assert "s3cret" not in output.err + output.out


def test_e1_the_login_of_a_fresh_task_says_who_where_and_tls_and_writes_nothing(
    database: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, database)
    assert login_cli.main() == 0
    assert re.fullmatch(r"LOGIN: papyrus_app in \S+\nTLS: TLSv1\.[23]\n", capsys.readouterr().out)
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM papyrus_schema.products").fetchone() == (0,)
    assert marks(database) == []


def test_e1_the_login_of_a_fresh_task_fails_with_a_drifted_password_which_it_does_not_show(
    database: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, database, DB_PASSWORD="drifted-pass-word")
    assert login_cli.main() == 1
    output = capsys.readouterr()
    assert output.err.startswith("database not usable: authentication")
    assert "drifted-pass-word" not in output.err + output.out


@pytest.mark.parametrize("command", [login_cli.main, lambda: mark_cli.main(["--run", RUN])], ids=["login", "mark"])
def test_e1_a_command_waits_for_a_database_that_is_busier_than_a_request_may_wait_for(
    database: Any, monkeypatch: pytest.MonkeyPatch, command: Callable[[], int]
) -> None:
    environment(monkeypatch, database)
    database.freeze()
    thaw = threading.Timer(LIMIT, database.thaw)
    thaw.start()
    try:
        assert command() == 0
    finally:
        thaw.join()


class SlowMetadata(http.server.BaseHTTPRequestHandler):
    """An agent that needs a second for what a container asks of itself."""

    task = ("arn:aws:ecs:us-west-2:123456789012:task/c/1", "sha256:" + "a" * 64)

    def do_GET(self) -> None:
        arn, digest = self.task
        time.sleep(1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"Labels": {"com.amazonaws.ecs.task-arn": arn}, "ImageID": digest}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_e3_the_command_waits_for_an_agent_that_is_busier_than_a_request_may_wait_for(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), SlowMetadata) as agent:
        threading.Thread(target=agent.handle_request, daemon=True).start()
        uri = f"http://127.0.0.1:{agent.server_port}/v4/x"
        environment(monkeypatch, database, ECS_CONTAINER_METADATA_URI_V4=uri)
        assert mark_cli.main(["--run", RUN]) == 0
    assert marks(database) == [(RUN, "cli", *SlowMetadata.task)]


def test_g1_init_sql_rolls_back_whole_and_may_be_repeated(database: Any) -> None:
    with database.connect() as connection:
        connection.execute("DROP SCHEMA papyrus_schema CASCADE")
        connection.commit()
        connection.execute(INIT_SQL)
        connection.rollback()
        assert connection.execute("SELECT to_regnamespace('papyrus_schema')").fetchone() == (None,)
        connection.execute(INIT_SQL)
        connection.execute(INIT_SQL)
        connection.commit()
        tables = "SELECT to_regclass('papyrus_schema.products'), to_regclass('papyrus_schema.run_marks')"
        assert None not in (connection.execute(tables).fetchone() or (None,))
