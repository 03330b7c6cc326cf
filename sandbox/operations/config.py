"""Config's items: discovered resources, their present configuration and their history."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.audit import tokens
from sandbox.audit.configuration import DELETED, Known, recorder_of
from sandbox.behaviours import behaviour
from sandbox.operations import operation
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

PAGE, HISTORY_PAGE = 100, 10
TIMES = ("configurationItemCaptureTime", "configurationItemDeliveryTime", "resourceCreationTime")
# What BatchGetResourceConfig shows of an item: no tags, no relationships.
BASE = (
    "version",
    "accountId",
    "configurationItemCaptureTime",
    "configurationItemStatus",
    "configurationStateId",
    "arn",
    "resourceType",
    "resourceId",
    "resourceName",
    "awsRegion",
    "availabilityZone",
    "resourceCreationTime",
    "configuration",
    "supplementaryConfiguration",
    "recordingFrequency",
    "configurationItemDeliveryTime",
)


def _tenant() -> tuple[str, str]:
    responses = emulator.core("responses")
    return responses.get_account_id(), responses.get_region()


@operation("config", "ListDiscoveredResources")
def list_discovered_resources(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_ListDiscoveredResources.html"""
    given, store = request.parameters, runtime.audit.store
    _a_recorder_is_needed()
    ids, name = given.get("resourceIds"), given.get("resourceName")
    if ids and name:
        raise Refused("ValidationException", "You can specify either resource IDs or a resource name, but not both.")
    runtime.audit.configurations.look(*_tenant())
    kind = str(given["resourceType"])
    known = runtime.audit.configurations.known(*_tenant(), kind)
    listed = sorted(
        (identifier, last)
        for (_, identifier), last in known.items()
        if (last.status != DELETED or _deleted_ones_on_demand(given))
        and (not ids or identifier in ids)
        and (not name or last.name == name)
    )
    place = _token_of_this_request(runtime, given)
    if place is not None:
        listed = [pair for pair in listed if pair[0] > str(place[0])]
    limit = int(given.get("limit") or PAGE)
    answer: dict[str, Any] = {"resourceIdentifiers": [_identifier(kind, *pair) for pair in listed[:limit]]}
    if len(listed) > limit:
        answer["nextToken"] = tokens.make(store, given, [listed[limit - 1][0]])
    return answer


def _identifier(kind: str, identifier: str, last: Known) -> dict[str, Any]:
    gone = datetime.fromtimestamp(last.captured, UTC) if last.status == DELETED else None
    found = {"resourceType": kind, "resourceId": identifier, "resourceName": last.name, "resourceDeletionTime": gone}
    return {name: value for name, value in found.items() if value is not None}


@behaviour("config", otherwise=lambda given: False)
def _deleted_ones_on_demand(given: dict[str, Any]) -> bool:
    """Deleted resources are listed, with the time of deletion, when includeDeletedResources asks for them.

    https://docs.aws.amazon.com/config/latest/APIReference/API_ListDiscoveredResources.html
    """
    return bool(given.get("includeDeletedResources"))


@behaviour("config", code="NoAvailableConfigurationRecorderException")
def _a_recorder_is_needed() -> None:
    """Without a configuration recorder in the region nothing can be listed, and no history be read.

    https://docs.aws.amazon.com/config/latest/APIReference/API_ListDiscoveredResources.html
    """
    if recorder_of(*_tenant()) is None:
        raise Refused(
            "NoAvailableConfigurationRecorderException",
            "There are no configuration recorders available to provide the role needed to describe your resources."
            " Create a configuration recorder.",
        )


@behaviour("config", code="InvalidNextTokenException", otherwise=lambda runtime, given: _unsigned(given))
def _token_of_this_request(runtime: Runtime, given: dict[str, Any]) -> list[Any] | None:
    """A nextToken is taken only with the parameters of the request that gave it.

    https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
    """
    token = given.get("nextToken")
    if not token:
        return None
    if not tokens.belongs(runtime.audit.store, given, str(token)) or tokens.is_worn(runtime.switches, str(token)):
        raise Refused("InvalidNextTokenException", "The nextToken provided is invalid.")
    return tokens.place(str(token))


def _unsigned(given: dict[str, Any]) -> list[Any] | None:
    return tokens.place(str(given["nextToken"])) if given.get("nextToken") else None


@operation("config", "GetResourceConfigHistory")
def get_resource_config_history(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html"""
    given, store = request.parameters, runtime.audit.store
    _a_recorder_is_needed()
    runtime.audit.configurations.look(*_tenant())
    kind, identifier = str(given["resourceType"]), str(given["resourceId"])
    _only_what_was_discovered_has_a_history(runtime, kind, identifier)
    later = _time(given.get("laterTime"), time.time())
    earlier = _time(given.get("earlierTime"), 0.0)
    _earlier_comes_before_later(earlier, later)
    limit = int(given.get("limit") or HISTORY_PAGE)
    place = _token_of_this_request(runtime, given)
    found = store.items(
        *_tenant(),
        kind,
        identifier,
        (earlier, later),
        newest_first=not _forward_is_oldest_first(given),
        after=(float(place[0]), int(place[1])) if place else None,
        limit=limit + 1,
    )
    answer: dict[str, Any] = {"configurationItems": [_shown(item) for _, _, item in found[:limit]]}
    if len(found) > limit:
        answer["nextToken"] = tokens.make(store, given, list(found[limit - 1][:2]))
    return answer


@behaviour("config", otherwise=lambda given: False)
def _forward_is_oldest_first(given: dict[str, Any]) -> bool:
    """A history comes newest first, in the chronological order Forward oldest first.

    https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
    """
    return given.get("chronologicalOrder") == "Forward"


def _time(stamp: Any, otherwise: float) -> float:
    if stamp is None:
        return otherwise
    return float(stamp) if isinstance(stamp, int | float) else emulator.epoch(stamp)


@behaviour("config", code="ResourceNotDiscoveredException")
def _only_what_was_discovered_has_a_history(runtime: Runtime, kind: str, identifier: str) -> None:
    """The history of a resource that Config never discovered is refused.

    https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
    """
    if (kind, identifier) not in runtime.audit.configurations.known(*_tenant(), kind):
        raise Refused(
            "ResourceNotDiscoveredException",
            f"Resource {identifier} of resourceType:{kind} is unknown or has not been discovered",
        )


@behaviour("config", code="InvalidTimeRangeException", stateful=False)
def _earlier_comes_before_later(earlier: float, later: float) -> None:
    """The earlier time of a history must lie before the later one.

    https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
    """
    if earlier > later:
        raise Refused("InvalidTimeRangeException", "The earlier time is not chronologically before the later time.")


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    """An item with its times as times."""
    return {name: datetime.fromtimestamp(v, UTC) if name in TIMES and v else v for name, v in item.items()}


@operation("config", "BatchGetResourceConfig")
def batch_get_resource_config(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_BatchGetResourceConfig.html"""
    _a_recorder_is_needed()
    runtime.audit.configurations.look(*_tenant())
    found = []
    for key in request.parameters.get("resourceKeys") or []:
        kind, identifier = str(key["resourceType"]), str(key["resourceId"])
        last = runtime.audit.store.items(*_tenant(), kind, identifier, (0.0, time.time()))
        if last and _the_deleted_have_no_configuration(last[0][2]):
            shown = _shown(last[0][2])
            found.append({name: shown[name] for name in BASE if name in shown})
    return {"baseConfigurationItems": found, "unprocessedResourceKeys": []}


@behaviour("config", otherwise=lambda item: True)
def _the_deleted_have_no_configuration(item: dict[str, Any]) -> bool:
    """BatchGetResourceConfig does not return deleted resources.

    https://docs.aws.amazon.com/config/latest/APIReference/API_BatchGetResourceConfig.html
    """
    return bool(item["configurationItemStatus"] != DELETED)


@operation("config", "GetDiscoveredResourceCounts")
def get_discovered_resource_counts(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_GetDiscoveredResourceCounts.html"""
    given, store = request.parameters, runtime.audit.store
    runtime.audit.configurations.look(*_tenant())
    known = runtime.audit.configurations.known(*_tenant())
    wanted = given.get("resourceTypes")
    counts = Counter(
        kind for (kind, _), last in known.items() if last.status != DELETED and (not wanted or kind in wanted)
    )
    listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    place = _token_of_this_request(runtime, given)
    start = int(place[0]) if place else 0
    limit = int(given.get("limit") or PAGE)
    answer: dict[str, Any] = {
        "totalDiscoveredResources": counts.total(),
        "resourceCounts": [{"resourceType": kind, "count": n} for kind, n in listed[start : start + limit]],
    }
    if len(listed) > start + limit:
        answer["nextToken"] = tokens.make(store, given, [start + limit])
    return answer


@operation("config", "DeleteConfigurationRecorder")
def delete_configuration_recorder(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_DeleteConfigurationRecorder.html"""
    awsconfig = emulator.service("config")
    name = str(request.parameters["ConfigurationRecorderName"])
    _only_a_recorder_that_is_there(awsconfig._recorders, name)
    awsconfig._recorders.pop(name, None)
    return {}


@behaviour("config", code="NoSuchConfigurationRecorderException")
def _only_a_recorder_that_is_there(recorders: Any, name: str) -> None:
    """Deleting a configuration recorder that is not there is refused.

    https://docs.aws.amazon.com/config/latest/APIReference/API_DeleteConfigurationRecorder.html
    """
    if name not in recorders:
        words = f"Cannot find configuration recorder with the specified name '{name}'."
        raise Refused("NoSuchConfigurationRecorderException", words)


@operation("config", "DeleteDeliveryChannel")
def delete_delivery_channel(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_DeleteDeliveryChannel.html"""
    awsconfig = emulator.service("config")
    name = str(request.parameters["DeliveryChannelName"])
    _only_a_channel_that_is_there(awsconfig._delivery_channels, name)
    awsconfig._delivery_channels.pop(name, None)
    return {}


@behaviour("config", code="NoSuchDeliveryChannelException")
def _only_a_channel_that_is_there(channels: Any, name: str) -> None:
    """Deleting a delivery channel that is not there is refused.

    https://docs.aws.amazon.com/config/latest/APIReference/API_DeleteDeliveryChannel.html
    """
    if name not in channels:
        raise Refused("NoSuchDeliveryChannelException", f"Cannot find delivery channel with specified name '{name}'.")
