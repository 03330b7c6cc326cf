"""Deployment alarms: CloudWatch alarms that end a rollout, and the bake time in which they still can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.seams.ecs_deployments import ServiceDeployments

Service = dict[str, Any]
Deployment = dict[str, Any]
# AWS computes it from the alarms' configuration, "less than 5 minutes".
BAKE_SECONDS = 3.0


class DeploymentAlarms:
    """Looks at the alarms of services whose rollout is under way; what it finds lies in their service deployment."""

    def __init__(self, records: ServiceDeployments) -> None:
        self._records = records

    def begin(self, service: Service, primary: Deployment) -> None:
        record = self._records.of(service, primary)
        names = names_of(service)
        if record is not None and names:
            watched = alarms_that_already_ring_switch_it_off(in_alarm(names))
            record["alarms"] = {
                "status": "MONITORING" if watched else "DISABLED",
                "alarmNames": names,
                "triggeredAlarmNames": [],
            }

    def triggered(self, service: Service, primary: Deployment) -> bool:
        """Whether an alarm ends this rollout now."""
        record = self._records.of(service, primary)
        if record is None or (record.get("alarms") or {}).get("status") != "MONITORING":
            return False
        names = alarm_ends_a_rollout(record["alarms"]["alarmNames"])
        record["alarms"]["triggeredAlarmNames"] = names
        return bool(names)


def names_of(service: Service) -> list[str]:
    """Names of the alarms that the service's deployments use."""
    alarms = (service.get("deploymentConfiguration") or {}).get("alarms") or {}
    return list(alarms.get("alarmNames") or []) if alarms.get("enable") else []


def in_alarm(names: list[str]) -> list[str]:
    """Those of the alarms, in the scope's account and region, that are in ALARM."""
    cloudwatch = emulator.service("cloudwatch")
    stores = (cloudwatch._alarms, cloudwatch._composite_alarms)
    return [name for name in names if any((s.get(name) or {}).get("StateValue") == "ALARM" for s in stores)]


@behaviour("ecs", otherwise=lambda *_: [])
def alarm_ends_a_rollout(names: list[str]) -> list[str]:
    """A deployment alarm that goes into ALARM ends the rollout as failed, and rolls it back if it is told to.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
    """
    return in_alarm(names)


@behaviour("ecs", otherwise=lambda _: True)
def alarms_that_already_ring_switch_it_off(ringing: list[str]) -> bool:
    """When an alarm is in ALARM at the beginning of a deployment, ECS does not monitor alarms for that deployment.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
    """
    return not ringing


@behaviour("ecs", otherwise=lambda _: 0.0)
def bake_seconds(service: Service) -> float:
    """A rollout with alarms is complete only after its bake time, which begins when the old tasks are gone.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html (Bake time)
    """
    minutes = (service.get("deploymentConfiguration") or {}).get("bakeTimeInMinutes")
    if minutes is not None:
        return 60.0 * int(minutes)
    return BAKE_SECONDS if names_of(service) else 0.0
