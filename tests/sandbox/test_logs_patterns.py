"""Filter patterns, without a sandbox."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from sandbox.logs.conditions import PatternError
from sandbox.logs.fields import split
from sandbox.logs.patterns import parse

APACHE = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
EVENT = {
    "level": "ERROR",
    "status": 503,
    "latency": 12.5,
    "ok": False,
    "done": True,
    "nothing": None,
    "text": "404",
    "ip": "123.123.7.1",
    "user": {"name": "frank", "roles": ["dev", "ops"], "ids": [{"id": 1}, {"id": 2}]},
    "a.b": "dotted",
    "requestId": "r-1",
}


def matches(pattern: str, message: Any) -> bool:
    return parse(pattern).matches(message if isinstance(message, str) else json.dumps(message))


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("", "anything", True),
        ("  ", "anything", True),
        ("ERROR", "[ERROR 400] BAD REQUEST", True),
        ("ERROR", "an error", False),
        ("ERROR ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", True),
        ("ERROR ARGUMENTS", "[ERROR 401] UNAUTHORIZED", False),
        ('"INTERNAL SERVER ERROR"', "[ERROR 500] INTERNAL SERVER ERROR", True),
        ('"INTERNAL SERVER ERROR"', "INTERNAL ERROR SERVER", False),
        ('"say \\"no\\""', 'they say "no"', True),
        ("?ERROR ?WARN", "a WARN", True),
        ("?ERROR ?WARN", "an INFO", False),
        ("ERROR -ARGUMENTS", "[ERROR 401] UNAUTHORIZED", True),
        ("ERROR -ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", False),
        ('-"health check"', "GET /", True),
        ('-"health check"', "a health check", False),
        ("?ERROR ?WARN GET", "GET /", True),
        ("%AUTHORIZED%", "UNAUTHORIZED REQUEST", True),
        ("%^[hc]at%", "hat", True),
        ("%^[hc]at%", "a hat", False),
        (r"%\d{3}-\d{2}%", "call 123-45", True),
    ],
)
def test_terms(pattern: str, message: str, expected: bool) -> None:
    assert matches(pattern, message) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.level = "ERROR" }', True),
        ('{ ($.level = "ERROR") && ($.status >= 500) }', True),
        ('{ ($.level = "ERROR") && ($.status >= 504) }', False),
        ('{ $.level = "INFO" || $.status = 503 }', True),
        ('{ $.level = "INFO" || $.status = 503 && $.latency < 1 }', False),
        ('{ ($.level = "ERROR" || $.status = 1) && $.latency > 12.4 }', True),
        ("{ $.status != 503 }", False),
        ("{ $.status = 5* }", True),
        ("{ $.status <= 503 }", True),
        ("{ $.latency = 1.25e1 }", True),
        ("{ $.missing != 1 }", False),
        ('{ $.level != "INFO" }', True),
        ('{ $.level = "ERR*" }', True),
        ('{ $.level = "*RO*" }', True),
        ("{ $.ip = 123.123.* }", True),
        ("{ $.ip != 123.123.* }", False),
        ("{ $.ip = %^123[.]123% }", True),
        ("{ $.done IS TRUE }", True),
        ("{ $.ok IS FALSE }", True),
        ("{ $.ok IS TRUE }", False),
        ("{ $.nothing IS NULL }", True),
        ("{ $.level IS NULL }", False),
        ("{ $.missing NOT EXISTS }", True),
        ("{ $.nothing NOT EXISTS }", False),
        ("{ $.user EXISTS }", True),
        ('{ $.user.name = "frank" }', True),
        ('{ $.user.roles[0] = "dev" }', True),
        ('{ $.user.roles[1] = "dev" }', False),
        ('{ $.user.roles[*] = "ops" }', True),
        ("{ $.user.ids[*].id = 2 }", True),
        ("{ $.user.ids[5].id NOT EXISTS }", True),
        ('{ $.user = "frank" }', False),
        ("{ $['a.b'] = \"dotted\" }", True),
        ("{ $.['a.b'] = \"dotted\" }", True),
        ('{ $.text = "404" }', True),
        ("{ $.text > 400 }", True),
        ("{ $.level > 400 }", False),
        ('{ $.requestId = "r-1" }', True),
    ],
)
def test_json(pattern: str, expected: bool) -> None:
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize("message", ["ERROR", "x " + json.dumps(EVENT), "[1", '{"level": "ERROR"', ""])
def test_what_is_no_json_matches_no_json_pattern(message: str) -> None:
    assert not matches("{ $.level NOT EXISTS }", message)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code]", False),
        ("[ip, user, username, timestamp, request = *.html*, status_code = 4*, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code = 5*, bytes]", False),
        ("[..., status_code = 4*, bytes > 1000]", True),
        ("[..., status_code, bytes > 2000]", False),
        ("[ip, ...]", True),
        ("[ip = 10.*, ...]", False),
        ("[ip, ..., request = *html*, status_code = 404, bytes]", True),
        ("[..., status_code = 404 || status_code = 410, bytes]", True),
        ("[..., (status_code >= 400 && status_code < 500), bytes]", True),
        ("[..., status_code != 404, bytes]", False),
        ('[..., request = "GET *", status_code, bytes]', True),
        ("[..., request = %ind[e]x%, status_code, bytes]", True),
        ("[,,,,,,]", True),
    ],
)
def test_fields(pattern: str, expected: bool) -> None:
    assert matches(pattern, APACHE) is expected


def test_fields_are_words_and_what_stands_in_quotes_or_brackets() -> None:
    assert split(APACHE) == [
        "127.0.0.1",
        "-",
        "frank",
        "10/Oct/2000:13:25:15 -0700",
        "GET /index.html HTTP/1.0",
        "404",
        "1534",
    ]


def test_values_are_extracted() -> None:
    assert parse("[..., status = 4*, bytes]").extract(APACHE) == {"$status": "404", "$bytes": "1534"}
    text = json.dumps(EVENT)
    assert parse("{ $.status = 5* && $.user.name EXISTS }").extract(text) == {"$.status": "503", "$.user.name": "frank"}
    assert parse("{ $.status = 5* }").select("$.latency", text) == "12.5"
    assert parse("{ $.status = 5* }").select("$.missing", text) is None
    assert parse("ERROR").extract("ERROR") == {}


@pytest.mark.parametrize(
    "pattern",
    [
        "foo-bar",
        "[ERROR",
        "ERROR]",
        '"open',
        'a"b"',
        "{",
        "{ }",
        "{ level = 1 }",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a = 1",
        "{ ($.a = 1 }",
        "{ $.a = 1 && }",
        "{ $.a > x }",
        "{ $.a IS MAYBE }",
        "{ $.a = 1 } x",
        "{ $.a = %!% }",
        "{ $.a = %(x)% }",
        "{ $.a = %a% && $.b = %b% && $.c = %c% }",
        "%[%",
        "[a, a]",
        "[..., b, ...]",
        "[a = ]",
        "[a b]",
        "x" * 1025,
        "{" + "(" * 60 + "$.a = 1" + ")" * 60 + "}",
    ],
)
def test_invalid_patterns(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse(pattern)


def test_compound_json_patterns_mean_what_python_means() -> None:
    """Random conditions, joined at random, against an evaluation of their own."""
    chance = random.Random(3)

    def condition() -> tuple[str, str]:
        name, limit = chance.choice("abc"), chance.randrange(4)
        sign, same = chance.choice([("=", "=="), ("!=", "!="), ("<", "<"), (">=", ">=")])
        return f"$.{name} {sign} {limit}", f"({name} is not None and {name} {same} {limit})"

    def compound(depth: int) -> tuple[str, str]:
        if depth == 0 or chance.random() < 0.3:
            return condition()
        (left, python_left), (right, python_right) = compound(depth - 1), compound(depth - 1)
        sign, word = chance.choice([("&&", "and"), ("||", "or")])
        return f"({left} {sign} {right})", f"({python_left} {word} {python_right})"

    for _ in range(500):
        text, python = compound(4)
        event = {name: chance.randrange(4) for name in "abc" if chance.random() < 0.8}
        names = {"a": None, "b": None, "c": None, **event}
        assert matches(f"{{ {text} }}", event) is eval(python, {}, names), (text, event)
