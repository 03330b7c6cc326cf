"""The database proved by two paths: what passes, what is caught, and that no password is anywhere (E1, E2, E3)."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from . import harness
from .harness import RunningSmoke, processes_of
from .services import CLUSTER, Services, until
from .together import RunningTogether

PLAYBOOK = "tests/e2e/database_proof.yml"
LOGIN = {
    "command": ["python", "-m", "papyrus.login_cli"],
    "expect": [r"^LOGIN: papyrus_app in papyrus$", r"^TLS: TLSv1\.[23]$"],
    "interval": 0.5,
}
BOTH = "ROWS: [('SKU-CLI','health',0), ('SKU-APP','health',0)]"


def inventory(*given: dict[str, Any]) -> dict[str, Any]:
    """What of these are inventory variables; the last one wins."""
    return {name: value for more in given for name, value in more.items() if name.startswith("papyrus_")}


def prove(folder: Path, *given: dict[str, Any], arguments: tuple[str, ...] = ()) -> harness.Smoke:
    """Run the proofs alone, with these inventory variables."""
    variables = inventory({"papyrus_db_fresh_login": LOGIN}, *given)
    return RunningSmoke(folder, variables, arguments, playbook=PLAYBOOK).end()


def statuses(smoke: harness.Smoke) -> dict[str, str]:
    """Status of each item that is a check."""
    return {line["name"]: line["status"] for line in smoke.lines if line["status"] in ("ok", "ng", "skip")}


def reason(smoke: harness.Smoke, name: str) -> str:
    """Why an item has its status."""
    return next(str(line["meta"]["rows"][0]["reason"]) for line in smoke.lines if line["name"] == name)


def caught(smoke: harness.Smoke, name: str, *words: str) -> None:
    """Require: FAILED, this item NG with these words, which are the first failure and in the terminal."""
    assert smoke.exit_code not in (0, 4), smoke.output[-4000:]
    assert smoke.verdict["result"] == "FAILED"
    assert statuses(smoke)[name] == "ng", smoke.output[-4000:]
    for word in words:
        assert word in reason(smoke, name), reason(smoke, name)
    assert smoke.verdict["first_failure"]["name"] == name, smoke.verdict
    assert words[0] in smoke.output


def nowhere(smoke: harness.Smoke, *secrets: str) -> None:
    """Require that no secret is in the output or in any file of the bundle."""
    files = {str(file): file.read_bytes() for file in smoke.bundle.rglob("*") if file.is_file()}
    files["output"] = smoke.output.encode()
    assert [(name, secret) for name, data in files.items() for secret in secrets if secret.encode() in data] == []


def value_of(secret: str) -> dict[str, Any]:
    """What a secret holds now."""
    answer = harness.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    value: dict[str, Any] = json.loads(answer)
    return value


def tasks_started_by(run_id: str) -> list[dict[str, Any]]:
    """One-off tasks of a run that have not stopped."""
    ecs = harness.client("ecs")
    arns = [
        arn
        for status in ("RUNNING", "STOPPED")
        for arn in ecs.list_tasks(cluster=CLUSTER, startedBy=f"papyrus/{run_id}", desiredStatus=status)["taskArns"]
    ]
    found = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
    return [task for task in found if task["lastStatus"] != "STOPPED"]


# Nothing here is about the health check, which costs a process every few seconds.
QUIET: dict[str, Any] = {"healthCheck": None}


@pytest.fixture(scope="module")
def service(services: Services) -> dict[str, Any]:
    """A service of two tasks, as inventory variables."""
    return services.service("proof2", container=QUIET, desired=2)


SILENT = (
    "import http.server\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.send_header('X-Papyrus-Db-Tls', 'TLSv1.3'); self.end_headers()\n"
    "        self.wfile.write(b'{\"inserted\":true}')\n"
    "http.server.ThreadingHTTPServer(('0.0.0.0', 5000), Handler).serve_forever()\n"
)
DRIFTED = "drifted-pass-word"


def as_master(database: dict[str, Any], statement: str) -> None:
    """Run a statement as the instance's master, whose password is set for it."""
    rds, name, password = harness.client("rds"), database["papyrus_db_instance"], "Master-pass-word-9"
    rds.modify_db_instance(DBInstanceIdentifier=name, MasterUserPassword=password, ApplyImmediately=True)
    endpoint = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]["Endpoint"]

    def connected() -> psycopg.Connection[Any] | None:
        try:
            return psycopg.connect(
                host=endpoint["Address"],
                port=endpoint["Port"],
                user="master",
                password=password,
                dbname="papyrus",
                sslmode="require",
                connect_timeout=5,
                autocommit=True,
            )
        except psycopg.OperationalError:
            return None

    with until(connected, "a login with the new master password") as connection:
        connection.execute(statement)


@dataclass
class Caught:
    """Runs by their case, which ought to fail but "two", and the passwords that their secrets held at their start."""

    smokes: dict[str, harness.Smoke]
    passwords: dict[str, str]

    def __getitem__(self, case: str) -> harness.Smoke:
        return self.smokes[case]


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory, services: Services, service: dict[str, Any]) -> Caught:
    """Every case in one run, at the highest verbosity."""
    secrets = {"drift": services.secret(), "plain": services.database(force_ssl="0"), "denied": services.database()}
    cases = {
        case: services.service(case, container=QUIET, secret=secret["arn"]) | secret for case, secret in secrets.items()
    }
    cases["silent"] = services.service("silent", container={**QUIET, "command": ["python", "-c", SILENT]})
    cases["two"] = service
    before = {case: value_of(secret["papyrus_secret_id"]) for case, secret in secrets.items()}
    harness.client("secretsmanager").put_secret_value(
        SecretId=secrets["drift"]["arn"], SecretString=json.dumps({**before["drift"], "password": DRIFTED})
    )
    as_master(secrets["denied"], "REVOKE INSERT ON papyrus_schema.run_marks FROM papyrus_app")
    running = RunningTogether(
        tmp_path_factory.mktemp("failing"),
        {case: inventory({"papyrus_db_fresh_login": LOGIN}, given) for case, given in cases.items()},
        PLAYBOOK,
        more=("-vvv",),
    )
    return Caught(running.smokes(), {case: value["password"] for case, value in before.items()})


@pytest.fixture(scope="module")
def two_tasks(failing: Caught) -> harness.Smoke:
    """The run of them that ought to pass."""
    return failing["two"]


def test_E3_both_paths_are_proved_with_the_exact_line(two_tasks: harness.Smoke) -> None:
    assert two_tasks.exit_code == 0, two_tasks.output[-4000:]
    assert set(statuses(two_tasks).values()) == {"ok"}
    assert BOTH in two_tasks.item("papyrus_sku_check.log").splitlines()
    assert re.search(r"^INSERT 0 \d+$", two_tasks.item("papyrus_psql_insert_cli.log"), re.MULTILINE)
    assert "no encryption" in two_tasks.item("plaintext_refused.log")
    assert "LOGIN: papyrus_app in papyrus" in two_tasks.item("fresh_login.log")


def test_F3_every_running_task_was_asked(two_tasks: harness.Smoke) -> None:
    tasks = re.findall(r"^task: +(\S+)$", two_tasks.item("running_image.log"), re.MULTILINE)
    asked = re.findall(r"^task: +(\S+)$", two_tasks.item("pgsslmode_env.log"), re.MULTILINE)
    assert len(set(tasks)) == 2
    assert sorted(asked) == sorted(tasks)
    assert re.search(r"^verify-full$", two_tasks.item("pgsslmode_env.log"), re.MULTILINE)
    assert 'ROUTES: ["/", "/dbcheck", "/healthz"]' in two_tasks.item("flask_url_map_after.log")


def test_E_no_password_is_in_output_or_bundle(two_tasks: harness.Smoke) -> None:
    nowhere(two_tasks, value_of("papyrus/prd/db")["password"])


def test_E1_nothing_of_the_run_is_left(two_tasks: harness.Smoke) -> None:
    assert tasks_started_by(two_tasks.run_id) == []
    assert processes_of(two_tasks.run_id) == []


def test_E1_a_drifted_password_is_caught_by_the_fresh_task_while_the_running_one_still_works(failing: Caught) -> None:
    smoke = failing["drift"]
    caught(smoke, "fresh_login.log", "a freshly started task cannot log in", "authentication")
    assert statuses(smoke)["papyrus_psql_insert_cli.log"] == "ok"
    assert statuses(smoke)["plaintext_refused.log"] == "ok"
    nowhere(smoke, failing.passwords["drift"], DRIFTED)
    assert tasks_started_by(smoke.run_id) == []


def test_E1_a_server_that_accepts_plaintext_is_loudly_ng(failing: Caught) -> None:
    smoke = failing["plain"]
    caught(smoke, "plaintext_refused.log", "PLAINTEXT ACCEPTED", "rds.force_ssl=1")
    assert statuses(smoke)["papyrus_psql_insert_cli.log"] == "ok"
    nowhere(smoke, failing.passwords["plain"])


def test_E1_a_write_that_the_database_refuses_is_ng_with_its_cause(failing: Caught) -> None:
    caught(failing["denied"], "papyrus_psql_insert_cli.log", "exit code 1", "database not usable: permission")
    assert statuses(failing["denied"])["fresh_login.log"] == "ok"


def test_E3_an_app_that_leaves_no_mark_is_ng_though_it_answers_200(failing: Caught) -> None:
    caught(failing["silent"], "papyrus_sku_check.log", "path app has 0 marks of this run")


@pytest.mark.soak
def test_E3_an_app_whose_session_is_not_called_encrypted_is_ng(tmp_path: Path, service: dict[str, Any]) -> None:
    header = {
        "rows": {
            "sql": "SELECT sku, name, unit_price FROM papyrus_schema.products WHERE sku = ANY(%s)",
            "expect": {"cli": ["SKU-CLI", "health", 0], "app": ["SKU-APP", "health", 0]},
        },
        "marks": {
            "sql": "SELECT path, task_arn, image_digest, marked_at FROM papyrus_schema.run_marks WHERE run_id = %s"
        },
        "app_probe": "dbcheck",
        "app_tls_header": "X-No-Such-Header",
    }
    smoke = prove(tmp_path, service, {"papyrus_db_read_back": header})
    caught(smoke, "papyrus_sku_check.log", "session of path app encrypted, it says nothing")
    assert BOTH in smoke.item("papyrus_sku_check.log")


@pytest.mark.soak
@pytest.mark.parametrize(("path", "sku"), [("cli", "SKU-CLI"), ("app", "SKU-APP")])
def test_E3_a_path_left_out_is_not_proved_and_its_rows_are_not_asked_for(
    tmp_path: Path, service: dict[str, Any], path: str, sku: str
) -> None:
    smoke = prove(tmp_path, service, {"papyrus_db_paths": [path], "papyrus_db_login": "exec"})
    assert smoke.exit_code == 0, smoke.output[-4000:]
    text = smoke.item("papyrus_sku_check.log")
    assert f"ROWS: [('{sku}','health',0)]" in text.splitlines()
    assert len(re.findall("^MARK: ", text, re.MULTILINE)) == 1
    assert ("papyrus_psql_insert_cli.log" in statuses(smoke)) is (path == "cli")


@pytest.mark.soak
def test_E3_a_run_without_exec_says_that_nobody_reads_back(tmp_path: Path, service: dict[str, Any]) -> None:
    smoke = prove(tmp_path, service, {"papyrus_db_paths": ["app"], "papyrus_allowed_skips": ["E3"]})
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert "no path of this run uses Exec" in reason(smoke, "papyrus_sku_check.log")
    assert "plaintext_refused.log" not in statuses(smoke)
    assert statuses(smoke)["fresh_login.log"] == "ok"


@pytest.mark.soak
def test_E_a_service_without_database_skips_its_proofs_with_the_reason(tmp_path: Path, service: dict[str, Any]) -> None:
    none = {"papyrus_db_instance": "", "papyrus_secret_id": "", "papyrus_allowed_skips": ["E1", "E3", "B13"]}
    smoke = prove(tmp_path, service, none)
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert smoke.verdict["result"] == "WARNED"
    skipped = [name for name, status in statuses(smoke).items() if status == "skip"]
    names = ["papyrus_psql_insert_cli.log", "plaintext_refused.log", "fresh_login.log", "papyrus_sku_check.log"]
    assert sorted(skipped) == sorted(["pgsslmode_env.log", *names])
    for name in names:
        assert "no database" in reason(smoke, name)
    assert statuses(smoke)["running_image.log"] == "ok"


def test_E1_a_run_killed_while_its_fresh_task_runs_leaves_none(tmp_path: Path, service: dict[str, Any]) -> None:
    forever = {"command": ["sleep", "600"], "life": 20, "interval": 0.5}
    running = RunningSmoke(tmp_path, service | {"papyrus_db_fresh_login": forever}, playbook=PLAYBOOK)
    running.wait_for_task("Log in from a fresh task")
    run_id = running.bundle_folders()[0].name
    until(lambda: tasks_started_by(run_id), "the fresh task")
    running.signal(signal.SIGKILL)
    running.end_by_guard()
    until(lambda: not tasks_started_by(run_id), "the end of the fresh task", timeout=90)
    assert processes_of(run_id) == []
