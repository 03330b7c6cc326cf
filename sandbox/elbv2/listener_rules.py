"""Which rule of a listener a request meets: ELBv2's conditions as pure functions.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from sandbox.behaviours import behaviour


@dataclass(frozen=True)
class Request:
    """What conditions look at. `path` and `query` as they came (not decoded), header names in lower case."""

    method: str
    host: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    client: str
    scheme: str
    port: int


Condition = Mapping[str, Any]


def choose(rules: Iterable[Condition], request: Request) -> Condition | None:
    """The first rule by priority whose conditions all hold; the default rule is last and has none."""
    for rule in in_order(rules):
        if all(holds(condition, request) for condition in rule.get("Conditions") or []):
            return rule
    return None


@behaviour("elbv2", otherwise=lambda rules: list(rules))
def in_order[Rule: Condition](rules: Iterable[Rule]) -> list[Rule]:
    """Rules are evaluated and listed from the lowest priority to the highest, the default rule last.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html
    """

    def place(rule: Condition) -> tuple[bool, int]:
        priority = str(rule["Priority"])
        return (not priority.isdigit(), int(priority) if priority.isdigit() else 0)

    return sorted(rules, key=place)


def holds(condition: Condition, request: Request) -> bool:
    """Whether one condition holds; any of its values is enough."""
    judge = JUDGES.get(condition["Field"])
    return judge is not None and judge(condition, request)


@behaviour("elbv2", otherwise=lambda *_: True)
def _path_condition(condition: Condition, request: Request) -> bool:
    """A path-pattern condition compares the path with regard to case; `*` and `?` are wildcards.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_PathPatternConditionConfig.html
    """
    return any(_like(value, request.path) for value in _values(condition))


@behaviour("elbv2", otherwise=lambda *_: True)
def _host_condition(condition: Condition, request: Request) -> bool:
    """A host-header condition compares the Host header without regard to case; `*` and `?` are wildcards.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_HostHeaderConditionConfig.html
    """
    return any(_like(value.lower(), request.host.lower()) for value in _values(condition))


@behaviour("elbv2", otherwise=lambda *_: True)
def _method_condition(condition: Condition, request: Request) -> bool:
    """An http-request-method condition names methods exactly, in capital letters.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_HttpRequestMethodConditionConfig.html
    """
    return request.method in _values(condition)


@behaviour("elbv2", otherwise=lambda *_: True)
def _source_condition(condition: Condition, request: Request) -> bool:
    """A source-ip condition holds for clients whose address lies in one of its blocks.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SourceIpConditionConfig.html
    """
    return any(_within(request.client, value) for value in _values(condition))


@behaviour("elbv2", otherwise=lambda *_: True)
def _header_condition(condition: Condition, request: Request) -> bool:
    """An http-header condition compares name and value without regard to case; any of several headers is enough.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_HttpHeaderConditionConfig.html
    """
    config = condition["HttpHeaderConfig"]
    name = config["HttpHeaderName"].lower()
    sent = [value.lower() for header, value in request.headers if header == name]
    return any(_like(value.lower(), text) for value in config["Values"] for text in sent)


@behaviour("elbv2", otherwise=lambda *_: True)
def _query_condition(condition: Condition, request: Request) -> bool:
    """A query-string condition holds for a key and value of the query, without regard to case.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_QueryStringConditionConfig.html
    """
    return any(_asks(pair, request.query) for pair in condition["QueryStringConfig"]["Values"])


JUDGES: dict[str, Callable[[Condition, Request], bool]] = {
    "path-pattern": _path_condition,
    "host-header": _host_condition,
    "http-request-method": _method_condition,
    "source-ip": _source_condition,
    "http-header": _header_condition,
    "query-string": _query_condition,
}


def _values(condition: Condition) -> Sequence[str]:
    return condition.get("Values") or []


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    """`*` is any run of characters, `?` exactly one, a backslash takes the meaning of the next away."""
    parts = []
    for token in re.findall(r"\\.|.", text, re.DOTALL):
        parts.append({"*": ".*", "?": "."}.get(token) or re.escape(token[-1]))
    return re.compile("".join(parts), re.DOTALL)


def _like(pattern: str, text: str) -> bool:
    return _pattern(pattern).fullmatch(text) is not None


def _within(address: str, cidr: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False


def _asks(pair: Mapping[str, str], query: str) -> bool:
    key, value = pair.get("Key"), pair["Value"].lower()
    return any(
        (key is None or _like(key.lower(), name.lower())) and _like(value, text.lower())
        for name, text in parse_qsl(query, keep_blank_values=True)
    )


@behaviour("elbv2", otherwise=lambda config, request: f"{request.scheme}://{request.host}:{request.port}{request.path}")
def redirect_location(config: Mapping[str, str], request: Request) -> str:
    """A redirect changes the parts of the URL that it names and keeps the others.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RedirectActionConfig.html
    """
    known = {
        "#{protocol}": request.scheme,
        "#{host}": request.host,
        "#{port}": str(request.port),
        "#{path}": request.path.removeprefix("/"),
        "#{query}": request.query,
    }

    def filled(name: str, default: str) -> str:
        text = config.get(name) or default
        for keyword, value in known.items():
            text = text.replace(keyword, value)
        return text

    query = filled("Query", "#{query}")
    protocol = filled("Protocol", "#{protocol}").lower()
    place = f"{protocol}://{filled('Host', '#{host}')}:{filled('Port', '#{port}')}{filled('Path', '/#{path}')}"
    return f"{place}?{query}" if query else place
