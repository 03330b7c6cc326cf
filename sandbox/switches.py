"""What a test may switch while the sandbox runs: the delays that AWS has, and the modes that are off by default."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


class SwitchError(ValueError):
    """A switch that does not exist, or a value that it cannot have; the message says which."""


@dataclass
class Switches:
    """Read by whoever they concern at the moment when they matter. Times are seconds; 0 is at once."""

    # Signatures, identities and policies decide (IAM mode).
    iam: bool = False
    # How long a change of users, roles and policies takes to count. AWS: seconds, up to a minute.
    iam_seconds: float = 0.0
    # How long a new STS session lives, whatever was asked for (AWS: 900 at least); 0 is as asked.
    session_seconds: float = 0.0
    # How long a deleted load balancer's network interfaces stay. AWS: minutes.
    alb_interface_seconds: float = 0.0
    # How long nobody knows a new load balancer's name. AWS: up to minutes.
    dns_seconds: float = 0.0
    # How old the target health is that DescribeTargetHealth shows. AWS: a second or two.
    health_lag_seconds: float = 0.0
    # How long LookupEvents does not show a call. AWS: up to 15 minutes.
    cloudtrail_seconds: float = 0.0
    # LookupEvents calls a second, an account and region; 0 is no limit. AWS: 2.
    lookup_events_rate: float = 2.0
    # How long the page tokens of LookupEvents, Config and FilterLogEvents are good, and for how many pages after the
    # first one (of the first two); 0 is as AWS: a day in Logs, elsewhere not documented and here for ever.
    page_token_seconds: float = 0.0
    page_token_pages: float = 0.0

    # How long the agent of ECS Exec takes to run after its container, and from then on to be reached. AWS: seconds.
    exec_agent_seconds: float = 1.0
    exec_connect_seconds: float = 0.0
    # How long a command's first output waits. The agent: 1.
    exec_output_seconds: float = 0.0
    # After how long without input and output a session ends. AWS: 1200.
    exec_idle_seconds: float = 1200.0
    # How long a command lives on when its client is gone without a word. AWS: until the session is idle for too long.
    exec_linger_seconds: float = 0.0

    # How often ECS tells CloudWatch what services use; 0 is never. AWS: every minute.
    utilisation_seconds: float = 60.0
    # How long a stopped task can be described. AWS: about an hour.
    stopped_task_seconds: float = 3600.0
    # How long a token of the registry is good. AWS: 12 hours.
    registry_token_seconds: float = 43_200.0

    def replace(self, document: Any) -> None:
        """Set exactly these; what is not named has its default. Raises SwitchError and changes nothing when wrong."""
        if not isinstance(document, dict):
            raise SwitchError("switches are an object of names and values")
        fields = {field.name: field for field in dataclasses.fields(self)}
        if unknown := set(document) - set(fields):
            raise SwitchError(f"unknown switches: {', '.join(sorted(unknown))}; there are {', '.join(fields)}")
        values = {name: _checked(name, value) for name, value in document.items()}
        for name, value in {**dataclasses.asdict(Switches()), **values}.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _checked(name: str, value: Any) -> Any:
    default = getattr(Switches(), name)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise SwitchError(f"`{name}` is true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:
        raise SwitchError(f"`{name}` is a number from 0 to 86400")
    return float(value)
