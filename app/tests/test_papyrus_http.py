"""Routes, headers and errors of the app without a database (A1, A2, A4, A5, N2)."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from papyrus import create_app, identity, routes

DUMMY = {"DB_HOST": "dummy", "DB_PORT": "dummy", "DB_NAME": "dummy", "DB_USER": "dummy", "DB_PASSWORD": "dummy"}
ARN = "arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/0123456789abcdef0123456789abcdef"
DIGEST = "sha256:" + "ab" * 32


def app_with(task: identity.Task) -> Any:
    app = create_app(DUMMY)
    fixed = identity.Identity("")
    fixed._task = task
    app.extensions["papyrus_identity"] = fixed
    return app.test_client()


def test_a1_factory_registers_the_three_routes_with_dummy_settings() -> None:
    rules = {rule.rule: rule.endpoint for rule in create_app(DUMMY).url_map.iter_rules()}
    assert rules == {"/": "index.index", "/healthz": "healthz.healthz", "/dbcheck": "dbcheck.dbcheck"}


def test_f3_the_url_map_is_printed_with_a_first_line_that_a_program_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert routes.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0].removeprefix("ROUTES: ")) == ["/", "/dbcheck", "/healthz"]
    assert "/healthz GET,HEAD,OPTIONS -> healthz.healthz" in lines


def test_a1_factory_works_without_any_setting() -> None:
    answer = create_app(dict.fromkeys(DUMMY, "")).test_client().get("/dbcheck")
    assert (answer.status_code, answer.json["reason"]) == (503, "not_configured")


def test_a1_index_greets() -> None:
    answer = create_app(DUMMY).test_client().get("/")
    assert (answer.status_code, answer.text) == (200, "Welcome to Papyrus")


def test_a2_healthz_is_exact_and_leaves_the_database_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("healthz touched the database")

    monkeypatch.setattr("psycopg.connect", never)
    answer = create_app(DUMMY).test_client().get("/healthz")
    assert (answer.status_code, answer.data, answer.content_type) == (200, b'{"ok":true}', "application/json")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/healthz", 405)])
def test_http_errors_are_json(method: str, path: str, status: int) -> None:
    answer = create_app(DUMMY).test_client().open(path, method=method)
    assert answer.status_code == status
    assert answer.json["status"] == status
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert ("Allow" in answer.headers) == (status == 405)


def test_an_unexpected_error_shows_no_stack_trace(capfd: pytest.CaptureFixture[str]) -> None:
    app = create_app(DUMMY)

    def broken() -> None:
        raise RuntimeError("inner detail")

    app.add_url_rule("/broken", "broken", broken)
    answer = app.test_client().get("/broken")
    assert answer.status_code == 500
    assert "inner detail" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json["request_id"]


@pytest.mark.parametrize(
    "query",
    [
        "?run=",
        "?run=x",
        "?run=20260131T120000Z-ABC234",
        "?run=20260231T120000Z-abc234",
        "?run=20260131T120000Z-abc234%0A",
        "?run=20260131T120000Z-abc234&run=20260131T120000Z-abc234",
        "?run=';DROP TABLE x--",
    ],
)
def test_a3_a_run_that_is_no_run_id_is_refused_before_the_database(query: str) -> None:
    answer = create_app(DUMMY).test_client().get("/dbcheck" + query)
    assert (answer.status_code, answer.json) == (400, {"inserted": False, "reason": "invalid_run"})


def test_a5_a_good_request_id_is_kept_and_a_bad_one_replaced() -> None:
    client = create_app(DUMMY).test_client()
    assert client.get("/", headers={"X-Request-Id": "probe-1"}).headers["X-Request-Id"] == "probe-1"
    assert client.get("/", headers={"X-Request-Id": "a b{}"}).headers["X-Request-Id"] != "a b{}"
    assert client.get("/").headers["X-Request-Id"] != client.get("/").headers["X-Request-Id"]


def test_n2_identity_headers_are_there_when_known_and_absent_when_not() -> None:
    known = app_with(identity.Task(ARN, DIGEST)).get("/healthz").headers
    assert (known["X-Papyrus-Task"], known["X-Papyrus-Image"]) == (ARN, DIGEST)
    unknown = app_with(identity.Task()).get("/healthz").headers
    assert "X-Papyrus-Task" not in unknown
    assert "X-Papyrus-Image" not in unknown


class Metadata:
    """An endpoint that answers from a list and counts."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, uri: str, timeout: float) -> Any:
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


LABELS = {"com.amazonaws.ecs.task-arn": ARN}


def test_n2_the_metadata_endpoint_is_asked_once() -> None:
    fetch = Metadata({"ImageID": DIGEST, "Labels": LABELS})
    asked = identity.Identity("http://metadata", fetch=fetch, clock=lambda: 0.0)
    assert [asked.get(), asked.get()] == [identity.Task(ARN, DIGEST)] * 2
    assert fetch.calls == 1


def test_n2_a_failing_endpoint_is_asked_again_later_but_not_on_every_request() -> None:
    now = 0.0
    fetch = Metadata(urllib.error.URLError("no route"), {"ImageID": DIGEST, "Labels": LABELS})
    asked = identity.Identity("http://metadata", fetch=fetch, clock=lambda: now)
    assert asked.get() == asked.get() == identity.Task()
    assert fetch.calls == 1
    now = 16.0
    assert asked.get() == identity.Task(ARN, DIGEST)


def test_n2_without_an_image_id_the_pinned_reference_says_the_digest() -> None:
    fetch = Metadata({"Image": f"registry/papyrus@{DIGEST}", "Labels": LABELS})
    assert identity.Identity("http://m", fetch=fetch).get() == identity.Task(ARN, DIGEST)


@pytest.mark.parametrize("answer", [[], "x", {"ImageID": 7, "Labels": []}, {"Labels": {LABELS and "x": "y\r\nz"}}])
def test_n2_odd_metadata_gives_no_header(answer: Any) -> None:
    assert identity.Identity("http://m", fetch=Metadata(answer)).get() == identity.Task()


def test_the_repr_of_the_settings_hides_the_password() -> None:
    settings = create_app({**DUMMY, "DB_PASSWORD": "hunter2"}).extensions["papyrus_settings"]
    assert "hunter2" not in repr(settings)
    assert json.dumps(settings.missing()) == "[]"


def test_A4_the_health_check_imports_neither_flask_nor_psycopg() -> None:
    code = "import sys, papyrus.healthcheck; print({'flask', 'psycopg'} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert shown.stdout.strip() == "set()"
