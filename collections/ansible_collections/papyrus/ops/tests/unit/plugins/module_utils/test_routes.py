# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes of a real Flask application in a real child process (B1, B6)."""

from __future__ import annotations

import json
import textwrap
import time
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _routes

pytest.importorskip("flask")

APP = """
import os
from flask import Blueprint, Flask

def create_app():
    app = Flask(__name__)
    app.add_url_rule("/", "index", lambda: "hello")
    blue = Blueprint("healthz", __name__)
    blue.add_url_rule("/healthz", "healthz", lambda: os.environ.get("DB_HOST", ""))
    app.register_blueprint(blue)
    return app
"""


def dump(
    folder: Path, code: str = APP, factory: str = "web:create_app", required: tuple[str, ...] = (), **more: object
) -> _routes.Routes:
    folder.joinpath("web.py").write_text(textwrap.dedent(code), "utf-8")
    return _routes.dump(_routes.Question(factory, str(folder), required=required, **more))


def test_B1_registered_routes_are_listed_and_logged(tmp_path: Path) -> None:
    found = dump(tmp_path, required=("/healthz",))
    assert found.ok
    assert found.rules == ["/", "/healthz", "/static/<path:filename>"]
    assert 'ROUTES: ["/", "/healthz", "/static/<path:filename>"]' in found.log("web:create_app").splitlines()
    assert found.routes[1] == {"rule": "/healthz", "endpoint": "healthz.healthz", "methods": ["GET", "HEAD", "OPTIONS"]}


def test_B1_a_route_that_is_not_registered_is_named(tmp_path: Path) -> None:
    found = dump(tmp_path, required=("/healthz", "/dbcheck"))
    assert not found.ok
    assert found.missing == ["/dbcheck"]
    assert "/dbcheck" in found.reason


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def create_app():\n    raise SystemExit(3)", "ended with exit code 3"),
        ("def create_app(:\n", "SyntaxError"),
        ("x = 1", "AttributeError"),
        ("import os\nos._exit(0)", "ended before its routes were read"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
    ],
)
def test_B1_an_application_that_does_not_load_says_the_tracebacks_last_line(
    tmp_path: Path, code: str, last: str
) -> None:
    found = dump(tmp_path, code)
    assert not found.ok
    assert last in found.reason
    assert "\n" not in found.reason


def test_B6_the_child_sees_no_environment_but_the_dummy_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "DB_PASSWORD"):
        monkeypatch.setenv(name, "/nowhere/secret")
    code = """
        import json, os, pathlib
        pathlib.Path(__file__).with_name("seen").write_text(json.dumps(dict(os.environ)))
        from flask import Flask
        def create_app():
            return Flask(__name__)
    """
    assert dump(tmp_path, code, environment={"DB_HOST": "dummy"}).ok
    seen = json.loads(tmp_path.joinpath("seen").read_text("utf-8"))
    assert set(seen) <= {"PATH", "HOME", "TMPDIR", "LC_ALL", "PYTHONDONTWRITEBYTECODE", "DB_HOST", "LC_CTYPE"}
    assert not tmp_path.joinpath("__pycache__").exists()


def test_B1_output_of_the_application_does_not_confuse_the_routes(tmp_path: Path) -> None:
    found = dump(tmp_path, APP + "\nprint('ROUTES: [\"/dbcheck\"]')\n", required=("/dbcheck",))
    assert found.missing == ["/dbcheck"]


def test_B1_an_application_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    code = """
        import pathlib, subprocess, time
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path(__file__).with_name("child").write_text(str(child.pid))
        time.sleep(60)
    """
    before = time.monotonic()
    found = dump(tmp_path, code, timeout=1.5)
    assert time.monotonic() - before < 10
    assert "did not load within 1.5 s" in found.reason
    pid = tmp_path.joinpath("child").read_text("utf-8")
    deadline = time.monotonic() + 5  # SIGKILL has been sent; a busy kernel takes a moment to end the process
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives"


def alive(pid: str) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("factory", ["web", "web:create_app;x", "../web:create_app", "web:create_app(1)", ""])
def test_B1_a_malformed_factory_runs_nothing(tmp_path: Path, factory: str) -> None:
    found = dump(tmp_path, "import pathlib\npathlib.Path(__file__).with_name('ran').touch()", factory)
    assert "module:function" in found.reason
    assert not tmp_path.joinpath("ran").exists()


def test_B1_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "cannot start" in dump(tmp_path, python=str(tmp_path / "python")).reason
