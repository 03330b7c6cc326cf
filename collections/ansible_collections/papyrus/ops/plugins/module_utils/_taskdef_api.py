# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Task definitions of ECS read and registered whole: members that the installed botocore does not know are kept.

botocore drops members of an answer that its model lacks, and refuses them in a request. Its own events give the answer
as it came, and let the body of the request be completed before it is signed, so that a setting which is newer than the
installed botocore survives a release made with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._calls import Calls
from ._taskdef import READ_ONLY, registerable

_DESCRIBED = "after-call.ecs.DescribeTaskDefinition"
_REGISTERED = "after-call.ecs.RegisterTaskDefinition"
_REGISTERING = "before-call.ecs.RegisterTaskDefinition"
_BODY = "PapyrusBody"

LOOK_BACK = 20
"""Newer revisions of a family that are compared with what is wanted: a call each."""


@dataclass(frozen=True)
class Described:
    """A revision as ECS has it; `definition` without what ECS adds, tags without those of AWS' own."""

    arn: str
    family: str
    revision: int
    status: str
    definition: dict[str, Any]
    tags: tuple[dict[str, str], ...]

    @property
    def name(self) -> str:
        return f"{self.family}:{self.revision}"

    @property
    def usable(self) -> bool:
        """A service cannot be updated to a revision that is INACTIVE or about to be deleted."""
        return self.status == "ACTIVE"

    @property
    def whole(self) -> dict[str, Any]:
        """With its tags, for comparison."""
        return {**self.definition, "tags": list(self.tags)}


class Definitions:
    """Reads and registers revisions."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        events = self._client.meta.events
        for event in (_DESCRIBED, _REGISTERED):
            events.register(event, _keep_body, unique_id=f"papyrus-{event}")
        model = self._client.meta.service_model
        self._input = model.operation_model("RegisterTaskDefinition").input_shape
        output = model.operation_model("DescribeTaskDefinition").output_shape.members["taskDefinition"]
        self._read_only = READ_ONLY | (output.members.keys() - self._input.members.keys())

    @property
    def _client(self) -> Any:
        return self._calls.clients("ecs")

    def describe(self, reference: str) -> Described:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTaskDefinition.html"""
        answer = self._calls.call(
            "ecs",
            "describe_task_definition",
            f"task definition {reference}",
            hint="Check family, revision and region, and that ecs:DescribeTaskDefinition is allowed.",
            taskDefinition=reference,
            include=["TAGS"],
        )
        return self._described(answer)

    def _described(self, answer: Mapping[str, Any]) -> Described:
        body = answer.get(_BODY)
        whole: dict[str, Any] = _without_nulls((json.loads(body) if body else answer)["taskDefinition"])
        tags = [dict(tag) for tag in answer.get("tags") or [] if not str(tag.get("key", "")).startswith("aws:")]
        return Described(
            arn=str(whole["taskDefinitionArn"]),
            family=str(whole["family"]),
            revision=int(whole.get("revision") or str(whole["taskDefinitionArn"]).rsplit(":", 1)[1]),
            status=str(whole.get("status") or "ACTIVE"),
            definition=registerable(whole, self._read_only),
            tags=tuple(tags),
        )

    def newer(self, than: Described) -> Iterator[Described]:
        """ACTIVE revisions of the family after this one, the newest first, at most 20.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html
        """
        answer = self._calls.call(
            "ecs",
            "list_task_definitions",
            f"family {than.family}",
            hint="The runner needs ecs:ListTaskDefinitions.",
            familyPrefix=than.family,
            status="ACTIVE",
            sort="DESC",
            maxResults=LOOK_BACK,
        )
        for arn in answer.get("taskDefinitionArns") or []:
            family, dummy, revision = str(arn).rpartition("/")[2].rpartition(":")
            if family == than.family and int(revision) > than.revision:
                yield self.describe(str(arn))

    def unknown(self, definition: Mapping[str, Any]) -> list[str]:
        """Paths of members that the installed botocore does not know, such as `containerDefinitions[0].newSetting`."""
        return list(_split(self._input, definition, "")[1])

    def register(self, definition: Mapping[str, Any], tags: tuple[dict[str, str], ...]) -> Described:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html"""
        wanted = {**definition, **({"tags": list(tags)} if tags else {})}
        known, unknown = _split(self._input, wanted, "")
        hint = "Nothing was registered; what AWS names lies in the revision that this one is made from."
        if unknown:
            hint += f" boto3 here does not know {', '.join(unknown)}, which were sent as they are: update boto3."

        def complete(params: dict[str, Any], **dummy: Any) -> None:
            params["body"] = json.dumps(wanted).encode()

        if unknown:
            self._client.meta.events.register(_REGISTERING, complete, unique_id=_REGISTERING)
        try:
            answer = self._calls.call(
                "ecs", "register_task_definition", f"family {definition['family']}", hint=hint, **known
            )
        finally:
            if unknown:
                self._client.meta.events.unregister(_REGISTERING, complete, unique_id=_REGISTERING)
        return self._described(answer)


def _keep_body(http_response: Any, parsed: dict[str, Any], **dummy: Any) -> None:
    if http_response.status_code < 300:
        parsed[_BODY] = getattr(http_response, "content", None)


def _without_nulls(value: Any) -> Any:
    """null in an answer is not there, as for botocore; a request cannot carry it."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _split(shape: Any, value: Any, path: str) -> tuple[Any, list[str]]:
    """The value without members that the shape lacks, and their paths."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        known, unknown = {}, []
        for name, item in value.items():
            place = f"{path}.{name}" if path else str(name)
            if name not in shape.members:
                unknown.append(place)
                continue
            known[name], below = _split(shape.members[name], item, place)
            unknown += below
        return known, unknown
    if shape.type_name == "list" and isinstance(value, list | tuple):
        pairs = [_split(shape.member, item, f"{path}[{index}]") for index, item in enumerate(value)]
        return [item for item, dummy in pairs], [name for dummy, names in pairs for name in names]
    return value, []
