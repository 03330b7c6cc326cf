# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real botocore client of a JSON service whose requests never leave: a function answers them on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

SESSION = botocore.session.get_session()
"""One for all, as reading a service's model takes a tenth of a second."""


@dataclass
class Wire:
    """`answer(operation, parameters)` gives the document of the answer, or raises Refused. `sent` are all requests."""

    service: str
    answer: Callable[[str, dict[str, Any]], dict[str, Any]]
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = SESSION.create_client(
            self.service,
            region_name="us-west-2",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )
        events: Any = self.client.meta.events
        events.register(f"before-send.{self.client.meta.service_model.service_id.hyphenize()}", self)

    def __call__(self, request: Any, **_more: Any) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).partition(".")[2]
        parameters = json.loads(request.body)
        self.sent.append((operation, parameters))
        status, document = 200, {}
        try:
            document = self.answer(operation, parameters)
        except Refused as refusal:
            status, document = 400, {"__type": refusal.code, "message": refusal.message}
        told = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": f"request-{len(self.sent)}"}
        headers = HTTPHeaders.from_dict(told)
        return AWSResponse(request.url, status, headers, _Raw(json.dumps(document).encode()))

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [parameters for name, parameters in self.sent if name == operation]


class Refused(Exception):
    def __init__(self, code: str, message: str = "no") -> None:
        super().__init__(code)
        self.code, self.message = code, message


class _Raw:
    """What botocore reads an answer from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_more: Any, **_named: Any) -> Any:
        yield self._body
