"""IAM's records as they count now: the emulator's own, or, while changes take their time, those of a moment ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from sandbox import emulator
from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

AWS_MANAGED = "arn:aws:iam::aws:policy/"
KEPT_COPIES = 200


class Store(Protocol):
    """One kind of record of the emulator, by account and name."""

    def get_scoped(self, account: str, region: str | None, key: str) -> Any: ...


@dataclass(frozen=True)
class Records:
    """The kinds of IAM record that decide; `stores` by the names of the emulator's get_state()."""

    stores: Mapping[str, Any]

    def get(self, kind: str, account: str, name: str) -> Any:
        """The record; None when there is none."""
        return cast(Store, self.stores[kind]).get_scoped(account, None, name)

    def each(self, kind: str, account: str) -> Iterator[tuple[str, Any]]:
        for (owner, name), record in list(self.stores[kind]._data.items()):
            if owner == account:
                yield name, record

    def document(self, account: str, policy_arn: str) -> str | None:
        """The default version of a managed policy."""
        if policy_arn.startswith(AWS_MANAGED):
            policy = emulator.service("iam")._lookup_policy(policy_arn)
        else:
            policy = self.get("policies", account, policy_arn)
        version = (policy or {}).get("Versions", {}).get((policy or {}).get("DefaultVersionId"), {})
        document = version.get("Document")
        return None if document is None else str(document)

    def account_of_key(self, access_key_id: str) -> str | None:
        """The account whose user has this access key."""
        for owner, name in list(self.stores["access_keys"]._data):
            if name == access_key_id:
                return str(owner)
        return None


def live() -> Records:
    """As the emulator has them."""
    iam = emulator.service("iam")
    return Records(
        {
            "users": iam._users,
            "roles": iam._roles,
            "policies": iam._policies,
            "groups": iam._groups,
            "access_keys": iam._access_keys,
            "oidc_providers": iam._oidc_providers,
            "user_inline_policies": iam._user_inline_policies,
            "group_inline_policies": iam._group_inline_policies,
        }
    )


# (when a change began, the records before it), oldest first; only while switches.iam_seconds is set.
_before: deque[tuple[float, Records]] = deque(maxlen=KEPT_COPIES)


def about_to_change(runtime: Runtime) -> None:
    """A call that changes IAM's records is let through: keep them as they are, when changes take their time."""
    if runtime.switches.iam_seconds > 0:
        _before.append((time.monotonic(), Records(emulator.service("iam").get_state())))
    else:
        _before.clear()


@behaviour("iam", otherwise=lambda runtime: live())
def changes_take_time_to_count(runtime: Runtime) -> Records:
    """A change of users, keys, roles or policies counts only some seconds after its call has succeeded.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html#troubleshoot_general_eventual-consistency
    """
    seconds = runtime.switches.iam_seconds
    now = time.monotonic()
    while _before and _before[0][0] <= now - max(seconds, 0):
        _before.popleft()
    return _before[0][1] if seconds > 0 and _before else live()


def counting(runtime: Runtime) -> Records:
    """The records that decide now."""
    return changes_take_time_to_count(runtime)
