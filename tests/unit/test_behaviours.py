"""The local AWS's behaviours: each has a sentence, a page and a test, and the table of them is up to date."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    specification = importlib.util.spec_from_file_location("behaviours", CHECKOUT / "scripts" / "behaviours.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["behaviours"] = module
    specification.loader.exec_module(module)
    return module


def test_each_has_sentence_page_and_test_and_the_table_says_so(tool: Any) -> None:
    assert tool.check(tool.behaviours()) == []


def test_more_than_a_hundred_are_stateful(tool: Any) -> None:
    assert sum(known.stateful for known in tool.behaviours().values()) >= 100


def test_a_decorated_function_is_read_as_it_is_written(tool: Any) -> None:
    source = """
@rule("ecs", "RunTask", code="ClientException", stateful=False)
def _no_more_than(runtime, request):
    \"\"\"RunTask starts ten tasks at most.

    https://docs.aws.amazon.com/x/API_RunTask.html (count).
    \"\"\"
"""
    function: Any = ast.parse(source).body[0]
    known = tool._behaviour(CHECKOUT / "sandbox" / "x.py", function, function.decorator_list[0])
    assert (known.name, known.code, known.stateful) == ("ecs.no_more_than", "ClientException", False)
    assert known.sentence == "RunTask starts ten tasks at most."
    assert known.page == "https://docs.aws.amazon.com/x/API_RunTask.html"
