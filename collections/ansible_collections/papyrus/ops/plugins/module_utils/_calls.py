# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls of AWS that keep their request ids: one call, all pages of one, and batches of ids."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from . import _aws

T = TypeVar("T")

# The data plane of services that a run may use: not in the event history.
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
_DATA_PLANE = {
    "s3": ("GetObject", "PutObject", "HeadObject", "DeleteObject", "ListObjectsV2", "ListObjectVersions"),
    "cloudwatch": ("GetMetricData", "PutMetricData"),
    "logs": ("PutLogEvents",),
    "events": ("PutEvents",),
    "sns": ("Publish",),
    "sqs": ("SendMessage", "ReceiveMessage", "DeleteMessage"),
}
DATA_EVENTS = frozenset(f"{service}:{operation}" for service, names in _DATA_PLANE.items() for operation in names)


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items, for APIs that take so many ids a call."""
    if size < 1:
        raise ValueError("a batch has at least one item")
    for start in range(0, len(items), size):
        yield items[start : start + size]


TRIES = 3
"""Of a change that nobody answered and that is not to be seen."""

LOOK_SECONDS = 2.0
"""After which a change that nobody answered is looked for; longer each time."""


def once(change: Callable[[], T], look: Callable[[], T | None], sleep: Callable[[float], None] = time.sleep) -> T:
    """What `change` answers, where doing it twice makes two things: without an answer it is looked for, then repeated.

    Clients try such calls again only where AWS itself refused them (`_answers.NOT_TWICE`). AwsFailure of the last try.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return change()
        except _aws.AwsFailure as failure:
            if not failure.unanswered:
                raise
            sleep(LOOK_SECONDS * tries)
            found = look()
            if found is not None:
                return found
            if tries == TRIES:
                raise


class Calls:
    """Calls through one set of clients; `request_ids` grows with each answer, in order.

    The id of a call that CloudTrail's event history does not have is written `<service>:<Operation> <id>`.
    An instance belongs to one thread; the clients behind it may be shared.
    """

    def __init__(self, clients: Callable[[str], Any]) -> None:
        self.clients = clients
        self.request_ids: list[str] = []

    def call(self, service: str, operation: str, resource: str, /, *, hint: str = "", **parameters: Any) -> Any:
        """One call; `operation` as boto3 spells it. Raises AwsFailure which names operation and resource."""
        client = self.clients(service)
        with _aws.aws_call(f"{service}:{api_name(operation)}", resource, hint):
            response = getattr(client, operation)(**parameters)
        request_id = _aws.request_id(response)
        if request_id:
            called = f"{service}:{api_name(operation)}"
            self.request_ids.append(f"{called} {request_id}" if called in DATA_EVENTS else request_id)
        return response

    def pages(
        self,
        service: str,
        operation: str,
        resource: str,
        /,
        *,
        token: str | tuple[str, str],
        hint: str = "",
        **parameters: Any,
    ) -> Iterator[Any]:
        """Every page of a listing. `token` is the name of the token, or (name in the request, name in the answer)."""
        sent, received = (token, token) if isinstance(token, str) else token
        response = self.call(service, operation, resource, hint=hint, **parameters)
        yield response
        while response.get(received):
            response = self.call(service, operation, resource, hint=hint, **parameters, **{sent: response[received]})
            yield response


def api_name(operation: str) -> str:
    """`describe_db_instances` → `DescribeDBInstances`, as AWS' documentation and CloudTrail spell it."""
    return "".join("DB" if word == "db" else word.capitalize() for word in operation.split("_"))


def unlogged(request_id: str) -> str:
    """`service:Operation` of a call that the event history does not have; "" for an ordinary request id."""
    called = request_id.partition(" ")[0]
    return called if called in DATA_EVENTS else ""
