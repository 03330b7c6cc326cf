"""Which rule of a listener a request meets: ELBv2's conditions as pure functions.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl


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


def choose(rules: Iterable[Mapping[str, Any]], request: Request) -> Mapping[str, Any] | None:
    """The first rule by priority whose conditions all hold; the default rule is last and has none."""
    for rule in sorted(rules, key=place_of):
        if all(holds(condition, request) for condition in rule.get("Conditions") or []):
            return rule
    return None


def place_of(rule: Mapping[str, Any]) -> tuple[bool, int]:
    """Sort key of a rule: its number, the default one last."""
    priority = str(rule["Priority"])
    return (not priority.isdigit(), int(priority) if priority.isdigit() else 0)


def holds(condition: Mapping[str, Any], request: Request) -> bool:
    """Whether one condition holds; any of its values is enough."""
    field = condition["Field"]
    values: Sequence[str] = condition.get("Values") or []
    if field == "path-pattern":
        return any(_like(value, request.path) for value in values)
    if field == "host-header":
        return any(_like(value.lower(), request.host.lower()) for value in values)
    if field == "http-request-method":
        return request.method in values
    if field == "source-ip":
        return any(_within(request.client, value) for value in values)
    if field == "http-header":
        config = condition["HttpHeaderConfig"]
        name = config["HttpHeaderName"].lower()
        sent = [value.lower() for header, value in request.headers if header == name]
        return any(_like(value.lower(), text) for value in config["Values"] for text in sent)
    if field == "query-string":
        return any(_asks(pair, request.query) for pair in condition["QueryStringConfig"]["Values"])
    return False


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


def redirect_location(config: Mapping[str, str], request: Request) -> str:
    """The Location of a redirect action. https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-action-types.html#redirect-actions"""
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
