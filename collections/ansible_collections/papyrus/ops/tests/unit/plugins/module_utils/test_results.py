# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing that a module returns has a secret: results, messages, tracebacks, repeated arguments (J1)."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils._internal import _traceback
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

SECRET = 'hunter22 "of" the db'
SPEC = {"private": {"type": "path"}, "run": {"type": "dict"}, "text": {"type": "str"}}
Say = Callable[..., dict[str, Any]]


@pytest.fixture
def private(tmp_path: Path) -> str:
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "db-password", SECRET)
    return str(tmp_path)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """What a module with this body prints, with everything that Ansible can be asked to repeat."""
    monkeypatch.setattr(_traceback, "is_traceback_enabled", lambda _event: True)

    def run(body: Callable[[basic.AnsibleModule], None], **given: Any) -> dict[str, Any]:
        @redacted_failure
        def main() -> None:
            module = basic.AnsibleModule(argument_spec=SPEC)
            redact_results(module)
            body(module)

        said = io.StringIO()
        arguments = {**given, "_ansible_inject_invocation": True}
        with patch_module_args(arguments), redirect_stdout(said), pytest.raises(SystemExit):
            main()
        assert SECRET not in said.getvalue() and json.dumps(SECRET)[1:-1] not in said.getvalue()
        result: dict[str, Any] = json.loads(said.getvalue())
        return result

    return run


def test_J1_results_and_repeated_arguments(say: Say, private: str) -> None:
    def body(module: Any) -> None:
        module.exit_json(changed=True, found={"lines": [f"x {SECRET}", "y"], "n": 1})

    result = say(body, private=private, text=f"psql {SECRET}", run={"id": SECRET})
    assert result["found"]["lines"][0].startswith("x [redacted:db-password:") and result["found"]["n"] == 1
    assert result["changed"] is True
    arguments = result["invocation"]["module_args"]
    assert arguments["text"].startswith("psql [redacted:db-password:") and arguments["private"] == private


def test_J1_the_folder_of_a_run_is_as_good(say: Say, private: str) -> None:
    result = say(lambda module: module.exit_json(text=SECRET), run={"private": private})
    assert result["text"].startswith("[redacted:db-password:")


def test_J1_a_value_that_becomes_known_while_the_module_runs(say: Say, private: str) -> None:
    def body(module: basic.AnsibleModule) -> None:
        Redactor.register(private, "token", "known-only-now")
        module.exit_json(text="known-only-now")

    assert say(body, private=private)["text"].startswith("[redacted:token:")


def test_J1_values_are_known_to_the_end_when_the_module_removes_the_folder(say: Say, private: str) -> None:
    def body(module: basic.AnsibleModule) -> None:
        for file in Path(private).iterdir():
            file.unlink()
        module.exit_json(text=SECRET)

    assert say(body, private=private)["text"].startswith("[redacted:db-password:")


def test_J1_without_a_folder_shapes_go(say: Say) -> None:
    result = say(lambda module: module.exit_json(text="PGPASSWORD=hunter23 psql"), private="/nowhere")
    assert result["text"].startswith("PGPASSWORD=[redacted:password:")


def test_J1_messages_and_the_exceptions_behind_them(say: Say, private: str) -> None:
    def body(module: basic.AnsibleModule) -> None:
        try:
            raise ValueError(f"refused {SECRET}") from RuntimeError(SECRET)
        except ValueError as exc:
            module.fail_json(msg=f"it failed: {exc}", step="D1", log=[SECRET])

    result = say(body, private=private)
    assert result["failed"] and result["msg"].startswith("it failed: refused [redacted:db-password:")
    assert "ValueError: refused [redacted:" in result["exception"] and result["step"] == "D1"


def test_J1_an_exception_given_to_fail_json(say: Say, private: str) -> None:
    def body(module: Any) -> None:
        module.fail_json(msg="no library", exception=ImportError(SECRET))

    assert say(body, private=private)["msg"].startswith("no library: [redacted:db-password:")


def test_J1_an_exception_that_nobody_expected(say: Say, private: str) -> None:
    def body(module: basic.AnsibleModule) -> None:
        raise KeyError(SECRET)

    result = say(body, private=private, text=SECRET)
    assert result["failed"] and result["msg"].startswith("KeyError: '[redacted:db-password:")
    assert result["invocation"]["module_args"]["text"].startswith("[redacted:")


MODULES = sorted((Path(__file__).parents[4] / "plugins" / "modules").glob("*.py"))


@pytest.mark.parametrize("path", [path for path in MODULES if path.stem != "run_open"], ids=lambda path: path.stem)
def test_J1_every_module_returns_through_the_redactor(path: Path) -> None:
    [main] = [node for node in ast.parse(path.read_text("utf-8")).body if getattr(node, "name", "") == "main"]
    assert isinstance(main, ast.FunctionDef)
    assert [ast.unparse(decorator) for decorator in main.decorator_list] == ["redacted_failure"]
    made, redacted = main.body[0], main.body[1]
    assert "Module(" in ast.unparse(made).splitlines()[0]
    assert "redact_results(module" in ast.unparse(redacted)
