"""Config's recorder: configuration items of what changed, while a recorder runs."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.audit import inventory
from sandbox.audit.inventory import GLOBAL_TYPES, KINDS, Resource
from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.audit.store import Store
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

ITEM_VERSION = "1.3"
DISCOVERED, CHANGED, DELETED = "ResourceDiscovered", "OK", "ResourceDeleted"
# How often a running recorder looks for what changed without a call (a database becomes available).
LOOK_SECONDS = 2.0
Tenant = tuple[str, str]


@dataclass(frozen=True)
class Known:
    """The last item of a resource."""

    name: str | None
    status: str
    digest: str
    captured: float


class Configurations:
    """Every method may be called on any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._known: dict[Tenant, dict[tuple[str, str], Known]] = {}
        for account, region, kind, identifier, status, digest, text in store.latest_items():
            item = json.loads(text)
            known = Known(item.get("resourceName"), status, digest, item["configurationItemCaptureTime"])
            self._known.setdefault((account, region), {})[(kind, identifier)] = known

    def start(self, runtime: Runtime) -> None:
        """Look again and again, in the server's loop."""
        loop = runtime.loop
        if loop is None:
            return

        def look() -> None:
            loop.call_later(LOOK_SECONDS, look)
            for account, region in _recording_tenants():
                self.look(account, region)

        loop.call_later(LOOK_SECONDS, look)

    def changed(self, runtime: Runtime, request: ApiRequest) -> None:
        """A call has changed something: keep what changed of its service's resources."""
        with runtime.scope_of(request):
            responses = emulator.core("responses")
            account, region = responses.get_account_id(), responses.get_region()
        self.look(account, region, request.service)

    def look(self, account: str, region: str, service: str | None = None) -> None:
        """Make items of all that differs from the last items, if a recorder runs there."""
        recorder = _a_recorder_must_run(account, region)
        if recorder is None:
            return
        # A change of the recorder itself concerns everything.
        wide = service in (None, "config")
        kinds = tuple(
            kind
            for kind in KINDS
            if (wide or kind.service == service) and _group_says_what_is_recorded(recorder, kind.type)
        )
        if not kinds:
            return
        with self._lock:
            known = self._known.setdefault((account, region), {})
            seen = set()
            for resource in inventory.resources(account, region, kinds):
                seen.add((resource.type, resource.id))
                self._compare(account, region, known, resource)
            types = {kind.type for kind in kinds}
            for key, last in list(known.items()):
                if key[0] in types and key not in seen and last.status != DELETED:
                    self._deletions_are_recorded(account, region, known, key, last)

    def _compare(self, account: str, region: str, known: dict[tuple[str, str], Known], resource: Resource) -> None:
        digest = _digest(resource)
        last = known.get((resource.type, resource.id))
        if last is not None and last.status != DELETED and _only_changes_make_items(last, digest):
            return
        status = DISCOVERED if last is None or last.status == DELETED else CHANGED
        self._keep(account, region, known, _item(account, region, resource, status), digest)

    @behaviour("config")
    def _deletions_are_recorded(
        self, account: str, region: str, known: dict[tuple[str, str], Known], key: tuple[str, str], last: Known
    ) -> None:
        """A deleted resource gets a last configuration item with the status ResourceDeleted and no configuration.

        https://docs.aws.amazon.com/config/latest/APIReference/API_ConfigurationItem.html
        """
        kind, identifier = key
        gone = Resource(kind, identifier, last.name, "", "Not Applicable", None, {}, {})
        item = _item(account, region, gone, DELETED)
        del item["configuration"]
        self._keep(account, region, known, item, "")

    def _keep(
        self,
        account: str,
        region: str,
        known: dict[tuple[str, str], Known],
        item: dict[str, Any],
        digest: str,
    ) -> None:
        kind, identifier, status = item["resourceType"], item["resourceId"], item["configurationItemStatus"]
        captured = item["configurationItemCaptureTime"]
        text = json.dumps({name: value for name, value in item.items() if value is not None})
        self._store.add_item(account, region, kind, identifier, captured, status, digest, text)
        known[(kind, identifier)] = Known(item.get("resourceName"), status, digest, captured)

    def known(self, account: str, region: str, kind: str | None = None) -> dict[tuple[str, str], Known]:
        """The last items of a type, or of all, by type and id."""
        with self._lock:
            listed = self._known.get((account, region), {})
            return {key: last for key, last in listed.items() if kind in (None, key[0])}


@behaviour("config", otherwise=lambda last, digest: False)
def _only_changes_make_items(last: Known, digest: str) -> bool:
    """A configuration item is made when a resource's configuration, tags or relationships change, and only then.

    https://docs.aws.amazon.com/config/latest/developerguide/how-does-config-work.html
    """
    return last.digest == digest


@behaviour("config", otherwise=lambda resource: [])
def _items_tell_relationships(resource: Resource) -> list[dict[str, str]]:
    """A configuration item lists what its resource is contained in or associated with.

    https://docs.aws.amazon.com/config/latest/developerguide/resource-config-reference.html
    """
    return [
        {"resourceType": kind, "resourceId": named, "relationshipName": how}
        for kind, named, how in resource.relationships
    ]


def recorder_of(account: str, region: str) -> Mapping[str, Any] | None:
    """The emulator's record of the one recorder of an account in a region."""
    awsconfig = emulator.service("config")
    with emulator.request_scope(account, region):
        recorders = list(awsconfig._recorders.values())
    return recorders[0] if recorders else None


@behaviour("config", otherwise=lambda account, region: recorder_of(account, region))
def _a_recorder_must_run(account: str, region: str) -> Mapping[str, Any] | None:
    """Configuration items are made while the configuration recorder runs; what changed before counts at its next start.

    https://docs.aws.amazon.com/config/latest/developerguide/stop-start-recorder.html
    """
    recorder = recorder_of(account, region)
    return recorder if recorder is not None and recorder.get("recording") else None


def _recording_tenants() -> list[Tenant]:
    awsconfig = emulator.service("config")
    stored = list(awsconfig._recorders._data.items())
    return [(account, region) for (account, region, _), recorder in stored if recorder.get("recording")]


@behaviour("config", otherwise=lambda recorder, kind: True)
def _group_says_what_is_recorded(recorder: Mapping[str, Any], kind: str) -> bool:
    """The recording group decides which types are recorded: all regional ones, those listed, or all but those listed.

    https://docs.aws.amazon.com/config/latest/APIReference/API_RecordingGroup.html
    """
    group = recorder.get("recorder", {}).get("recordingGroup") or {}
    strategy = (group.get("recordingStrategy") or {}).get("useOnly")
    excluded = (group.get("exclusionByResourceTypes") or {}).get("resourceTypes") or []
    if strategy == "EXCLUSION_BY_RESOURCE_TYPES" or excluded:
        return kind not in excluded
    if group.get("resourceTypes"):
        return kind in group["resourceTypes"]
    return kind not in GLOBAL_TYPES or bool(group.get("includeGlobalResourceTypes"))


def _digest(resource: Resource) -> str:
    told = [resource.name, resource.configuration, resource.tags, resource.relationships, resource.supplement]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _item(account: str, region: str, resource: Resource, status: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_ConfigurationItem.html"""
    now = time.time()
    return {
        "version": ITEM_VERSION,
        "accountId": account,
        "configurationItemCaptureTime": now,
        "configurationItemStatus": status,
        "configurationStateId": str(int(now * 1000)),
        "configurationItemMD5Hash": "",
        "arn": resource.arn or None,
        "resourceType": resource.type,
        "resourceId": resource.id,
        "resourceName": resource.name,
        "awsRegion": "global" if resource.type in GLOBAL_TYPES else region,
        "availabilityZone": resource.zone,
        "resourceCreationTime": emulator.epoch(resource.created) if resource.created else None,
        "tags": resource.tags,
        "relatedEvents": [],
        "relationships": _items_tell_relationships(resource),
        "configuration": json.dumps(resource.configuration, default=str),
        "supplementaryConfiguration": resource.supplement,
        "recordingFrequency": "CONTINUOUS",
        "configurationItemDeliveryTime": now,
    }
