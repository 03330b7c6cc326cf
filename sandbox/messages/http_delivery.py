"""SNS over HTTP: one delivery with its retries, and never to an address that is not this machine's own."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sandbox.behaviours import behaviour

log = logging.getLogger("sandbox.sns")
# AWS waits 20 s before each of three retries, and then gives up.
# https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
RETRY_SECONDS = (0.25, 0.5, 1.0)
TIMEOUT_SECONDS = 15
AGENT = "Amazon Simple Notification Service Agent"


class NotLoopback(ValueError):
    """An endpoint that is not on 127.0.0.0/8: nothing of the sandbox goes there."""


def address_of(host: str | None) -> str:
    """The loopback address that a host names, without asking anybody. Raises NotLoopback."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.IPv4Address(host or "")
    except ValueError:
        raise NotLoopback(f"{host} is not an address of 127.0.0.0/8") from None
    if not address.is_loopback:
        raise NotLoopback(f"{host} is not an address of 127.0.0.0/8")
    return str(address)


def deliver(
    endpoint: str,
    body: str,
    headers: Mapping[str, str],
    ca_file: Path,
    sleep: Callable[[float], None] = time.sleep,
    post: Callable[[str, str, Mapping[str, str], Path], int] | None = None,
) -> bool:
    """Post it, again after failures that may pass; whether it arrived. Never raises for what the endpoint does."""
    send = post or post_once
    for wait in (0.0, *_waits()):
        if wait:
            sleep(wait)
        try:
            status = send(endpoint, body, headers, ca_file)
        except (OSError, http.client.HTTPException, ValueError) as error:
            log.warning("to %s: %s", endpoint, error)
            if isinstance(error, NotLoopback):
                return False
            continue
        if 200 <= status < 300:
            return True
        log.warning("to %s: HTTP %s", endpoint, status)
        if _is_permanent(status):
            return False
    return False


@behaviour("sns", otherwise=lambda: ())
def _waits() -> tuple[float, ...]:
    """A notification that an HTTP endpoint does not take is sent again, three times by default.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
    """
    return RETRY_SECONDS


@behaviour("sns", otherwise=lambda status: False)
def _is_permanent(status: int) -> bool:
    """A notification that an HTTP endpoint answers with 4xx, but for 429, is not sent again.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
    """
    return 400 <= status < 500 and status != 429


def post_once(endpoint: str, body: str, headers: Mapping[str, str], ca_file: Path) -> int:
    """The status; redirects are not followed. Raises OSError, HTTPException, NotLoopback."""
    url = urlsplit(endpoint)
    address, secure = address_of(url.hostname), url.scheme == "https"
    port = url.port or (443 if secure else 80)
    sent = {
        **headers,
        "User-Agent": AGENT,
        "Content-Type": "text/plain; charset=UTF-8",
        "Host": f"{url.hostname}:{port}",
    }
    if url.username is not None:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        sent["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    connection = (
        http.client.HTTPSConnection(
            address, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context(cafile=str(ca_file))
        )
        if secure
        else http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
    )
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", path, body.encode(), sent)
        return connection.getresponse().status
    finally:
        connection.close()
