"""An event history without end on loopback, as LookupEvents shows it: made up page by page, nothing is kept.

    with Endless(events, start, end) as history: … history.url

Event n of `events` (0 is the oldest) has the id `{n:032x}` and its time evenly within [start, end]. STS says who asks.
With a `rate` more requests a second are throttled as CloudTrail does it (a bucket of two); the answer to request number
`cut`, from 1, ends in its middle with the connection.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = 50
ACCOUNT = "123456789012"
IDENTITY = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult>"
    f"<Arn>arn:aws:iam::{ACCOUNT}:root</Arn><UserId>{ACCOUNT}</UserId><Account>{ACCOUNT}</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


class Endless:
    """Counts the requests for pages in `asked`, and those of them that it throttled in `throttled`."""

    def __init__(self, events: int, start: int, end: int, *, rate: float = 0, cut: int = 0) -> None:
        self.events, self.start, self.end = events, start, end
        self.asked = self.throttled = 0
        self._rate, self._cut = rate, cut
        self._left, self._counted = 2.0, time.monotonic()
        self._step = (end - start) / events
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Else the small first packet of an answer waits for the client's acknowledgement.
            disable_nagle_algorithm = True
            wbufsize = 1 << 16

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                looked_up = "LookupEvents" in self.headers.get("X-Amz-Target", "")
                status, data = source.answer(json.loads(body)) if looked_up else (200, IDENTITY.encode())
                self.send_response_only(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1" if looked_up else "text/xml")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.close_connection = looked_up and source.asked == source._cut
                self.wfile.write(data[: len(data) // 2] if self.close_connection else data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Endless:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def time_of(self, number: int) -> int:
        return self.start + int(number * self._step)

    def answer(self, asked: dict[str, Any]) -> tuple[int, bytes]:
        self.asked += 1
        now = time.monotonic()
        self._left = min(2.0, self._left + (now - self._counted) * self._rate)
        self._counted = now
        if self._rate and self._left < 1:
            self.throttled += 1
            return 400, b'{"__type":"ThrottlingException","message":"Rate exceeded"}'
        self._left -= 1
        return 200, self._page(asked)

    def _page(self, asked: dict[str, Any]) -> bytes:
        first = self._first_from(asked.get("StartTime", 0))
        token, last = asked.get("NextToken"), asked.get("EndTime", self.end)
        behind = int(token) if token else self._first_from(last + 1)
        begin = max(first, behind - PAGE)
        answer = {"Events": list(self._events(behind, begin))}
        if begin > first:
            answer["NextToken"] = str(begin)
        return json.dumps(answer).encode()

    def _first_from(self, at: float) -> int:
        """The number of the first event that is not before that second."""
        number = min(max(int((at - self.start) / self._step), 0), self.events)
        while number > 0 and self.time_of(number - 1) >= at:
            number -= 1
        while number < self.events and self.time_of(number) < at:
            number += 1
        return number

    def _events(self, behind: int, begin: int) -> Iterator[dict[str, Any]]:
        for number in range(behind - 1, begin - 1, -1):
            at, identity = self.time_of(number), f"{number:032x}"
            yield {
                "EventId": identity,
                "EventName": "DescribeServices",
                "ReadOnly": "true",
                "AccessKeyId": "ASIAEXAMPLE",
                "EventTime": at,
                "EventSource": "ecs.amazonaws.com",
                "Username": f"deploy-{number % 7}",
                "Resources": [],
                "CloudTrailEvent": record(number, identity, at),
            }


def record(number: int, identity: str, at: int) -> str:
    """1.1 KB, as calls by a role's session are."""
    stamp, user = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)), f"deploy-{number % 7}"
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/papyrus-release/{user}"
    return (
        '{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:' + user + '","arn":"'
        f'{arn}","accountId":"{ACCOUNT}","accessKeyId":"ASIAEXAMPLE","sessionContext":{{"sessionIssuer":{{"type":"Role",'
        f'"principalId":"AROAEXAMPLE","arn":"arn:aws:iam::{ACCOUNT}:role/papyrus-release","accountId":"{ACCOUNT}",'
        '"userName":"papyrus-release"},"attributes":{"creationDate":"2026-01-31T10:00:00Z","mfaAuthenticated":"false"}'
        f'}}}},"eventTime":"{stamp}","eventSource":"ecs.amazonaws.com","eventName":"DescribeServices","awsRegion":'
        '"us-west-2","sourceIPAddress":"192.0.2.7","userAgent":"Boto3/1.43.0 md/Botocore#1.43.0 ua/2.0 os/linux#6.12",'
        f'"requestParameters":{{"cluster":"papyrus-ecs-prd","services":["service-{number % 50}"]}},"responseElements":'
        f'null,"requestID":"{number:08x}-1111-4222-8333-444455556666","eventID":"{identity}","readOnly":true,'
        f'"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{ACCOUNT}","eventCategory":"Management",'
        '"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":'
        '"ecs.us-west-2.amazonaws.com"}}'
    )
