# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWS without a network: real boto3 clients (botocore validates each request) answered by functions, all recorded."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

Answer = Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Refusal(Exception):
    """Raised by an answer: AWS' error code, message and HTTP status."""

    def __init__(self, code: str, message: str = "said AWS", status: int = 400) -> None:
        self.code = code
        self.status = status
        self.message = message
        super().__init__(code)


@cache
def _session() -> Any:
    core = botocore.session.get_session()  # one loader for all tests: reading EC2's model takes long
    return boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-west-2", botocore_session=core
    )


@cache
def _model(service: str, surroundings: frozenset[tuple[str, str]]) -> Any:
    return _session().client(service, config=Config(retries={"total_max_attempts": 1}))


def _new_client(service: str) -> Any:
    """A client with events of its own, made from the first of the service there: botocore takes ten times as long."""
    model = _model(service, frozenset(item for item in os.environ.items() if item[0].startswith("AWS_")))
    client = object.__new__(type(model))
    vars(client).update(vars(model))
    client.meta = copy.copy(model.meta)
    client.meta.events = copy.copy(model.meta.events)
    return client


@dataclass
class FakeAws:
    """`answers` by `service.operation` in boto3's spelling; `requests` are the validated parameters, in order.

    `date` is the header of that name in every answer, where it is given.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    own: threading.local = field(default_factory=threading.local)
    date: str = ""
    _clients: dict[str, Any] = field(default_factory=dict)

    def __call__(self, service: str) -> Any:
        with self.lock:
            if service not in self._clients:
                self._clients[service] = self._client(service)
            return self._clients[service]

    def _client(self, service: str) -> Any:
        client = _new_client(service)
        names = {api: python for python, api in client.meta.method_to_api_mapping.items()}

        def provide(params: dict[str, Any], model: Any, **kwargs: Any) -> None:
            with self.lock:
                self.requests.append((f"{service}.{names[model.name]}", dict(params)))
                self.own.last = (dict(params), len(self.requests))  # other threads may be asking the same

        def answer(model: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
            name = f"{service}.{names[model.name]}"
            sent, number = self.own.last
            metadata: dict[str, Any] = {"RequestId": f"request-{number}", "HTTPStatusCode": 200}
            if self.date:
                metadata["HTTPHeaders"] = {"date": self.date}
            found = self.answers.get(name)
            if found is None:
                raise AssertionError(f"{name} was not expected: {sent}")
            try:
                given = found(sent) if callable(found) else found
            except Refusal as refusal:
                error = {"Code": refusal.code, "Message": refusal.message}
                metadata["HTTPStatusCode"] = refusal.status
                return SimpleNamespace(status_code=refusal.status), {"Error": error, "ResponseMetadata": metadata}
            return SimpleNamespace(status_code=200), {**given, "ResponseMetadata": metadata}

        client.meta.events.register("provide-client-params", provide)
        client.meta.events.register("before-call", answer)
        return client

    def sent(self, name: str) -> list[dict[str, Any]]:
        return [params for asked, params in self.requests if asked == name]

    @property
    def names(self) -> list[str]:
        return [name for name, dummy in self.requests]
