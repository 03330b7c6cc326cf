# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Doctor's rows about the service: how it is rolled out, where its tasks run, and where they log to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _preflight_ecs, _rollout_checks
from ._doctor_settings import DoctorSettings, mend, only_warns, told, warn
from ._doctor_values import cluster, container, definition
from ._preflight import Ask, Check, Finding, ok, skip
from ._rows import listing

ARCHITECTURES = {"linux/amd64": "X86_64", "linux/arm64": "ARM64"}
"""Platform of an image → cpuArchitecture of a task definition, whose default is X86_64:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html"""

EXEC_PLATFORM = (1, 4, 0)
"""First platform version of Fargate with ECS Exec:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html"""


def found_cluster(ask: Ask) -> Finding:
    found = cluster(ask)
    name = ask.settings.cluster
    if not found:
        return mend(
            f"there is no cluster {name} in this account and region",
            "correct papyrus_cluster: aws ecs list-clusters",
        )
    data = {"status": found.get("status"), "services": found.get("activeServicesCount")}
    if found.get("status") != "ACTIVE":
        return mend(f"cluster {name} is {found.get('status')}", "create it again, or name another", **data)
    return ok(f"{name} is ACTIVE, with {found.get('activeServicesCount', 0)} services", **data)


def deployment(ask: Ask) -> Finding:
    """Whether a release can follow the service's rollouts. A smoke can be made of any service with tasks in awsvpc."""
    return judge_deployment(_preflight_ecs.service(ask), told(ask))


def judge_deployment(service: Mapping[str, Any], settings: DoctorSettings) -> Finding:
    """Pure."""
    controller = str((service.get("deploymentController") or {}).get("type") or "ECS")
    strategy = str((service.get("deploymentConfiguration") or {}).get("strategy") or "ROLLING")
    breaker, back = _rollout_checks.breaker_of(service)
    data = {"controller": controller, "strategy": strategy, "circuit_breaker": breaker, "rolls_back": back}
    kind = f"controller {controller}, strategy {strategy}"
    bad = mend if "release" in settings.must else warn
    if controller != "ECS" or strategy != "ROLLING":
        why = (
            _rollout_checks.CONTROLLERS.get(controller) or _rollout_checks.STRATEGIES.get(strategy) or "not known here"
        )
        return bad(
            f"{kind}: {why}; release.yml follows ECS' own rolling deployments only",
            "run alb_smoke.yml after each of its deployments, and release by what rolls it out now",
            **data,
        )
    if not breaker and settings.rollout_timeout is None:
        return bad(
            f"{kind}, without circuit breaker: ECS would try a failing revision for ever, and release.yml refuses that",
            "aws ecs update-service --deployment-configuration "
            "'deploymentCircuitBreaker={enable=true,rollback=true}', or set papyrus_rollout_timeout",
            **data,
        )
    ends = "circuit breaker" + (" with rollback" if back else " without rollback") if breaker else "a time limit"
    return ok(f"{kind}, {ends}", **data)


def platform(ask: Ask) -> Finding:
    """Platform version and architecture of what runs, beside the image that a release would make."""
    raw = _preflight_ecs.tasks(ask).raw
    return judge_platform(raw[0] if raw else {}, definition(ask), told(ask))


def judge_platform(task: Mapping[str, Any], revision: Mapping[str, Any], settings: DoctorSettings) -> Finding:
    """Pure."""
    runtime = revision.get("runtimePlatform") or {}
    system = str(runtime.get("operatingSystemFamily") or "LINUX")
    architecture = str(runtime.get("cpuArchitecture") or "X86_64")
    version = str(task.get("platformVersion") or "")
    launch = str(task.get("launchType") or (task.get("capacityProviderName") or "not running"))
    data = {"launch": launch, "version": version, "system": system, "architecture": architecture}
    network = str(revision.get("networkMode") or "awsvpc")
    text = f"{launch}{' ' + version if version else ''}, {system} {architecture}, network {network}"
    if network != "awsvpc":
        return mend(
            f"{text}: its tasks have no address of their own", "move the service to network mode awsvpc", **data
        )
    numbers = version.split(".")
    if system == "LINUX" and all(part.isdigit() for part in numbers) and tuple(map(int, numbers)) < EXEC_PLATFORM:
        return mend(
            f"{text}: ECS Exec needs platform version 1.4.0",
            "aws ecs update-service --platform-version LATEST --force-new-deployment",
            **data,
        )
    wanted = ARCHITECTURES.get(settings.image_platform)
    if wanted != architecture or system != "LINUX":
        bad = mend if "release" in settings.must else warn
        return bad(
            f"{text}: papyrus_image_platform is {settings.image_platform}, an image of which would not start there",
            "set papyrus_image_platform to what the tasks are",
            **data,
        )
    return ok(text, **data)


def log_driver(ask: Ask) -> Finding:
    """Where the app's lines go: they are evidence of a run (K3), and so is the log of the fresh task."""
    settings = told(ask)
    logs = container(ask).get("logConfiguration") or {}
    driver, options = str(logs.get("logDriver") or "none"), logs.get("options") or {}
    group = settings.log_group or str(options.get("awslogs-group") or "")
    data = {"driver": driver, "group": group, "region": options.get("awslogs-region")}
    if driver != "awslogs" and not settings.log_group:
        return warn(
            f"log driver {driver}: the app's lines cannot be found, their rows would be NG",
            "set papyrus_log_group to where they end up in CloudWatch Logs, or papyrus_request_id_header to ''",
            **data,
        )
    region = str(options.get("awslogs-region") or settings.region)
    if driver == "awslogs" and region != settings.region:
        return mend(
            f"the app logs to {group} in {region}, runs look in {settings.region}",
            "release a revision with awslogs-region of the service's own region",
            **data,
        )
    found = [
        str(one.get("logGroupName"))
        for page in ask.calls.pages(
            "logs", "describe_log_groups", f"log group {group}", token="nextToken", logGroupNamePrefix=group
        )
        for one in page.get("logGroups", [])
    ]
    if group not in found:
        return mend(f"there is no log group {group}", f"aws logs create-log-group --log-group-name {group}", **data)
    return ok(f"{driver} to {group}", **data)


def secrets_in_use(app: Mapping[str, Any]) -> list[str]:
    """Secrets Manager's ARNs that the container's variables come from."""
    return [
        str(one["valueFrom"]) for one in app.get("secrets") or [] if ":secretsmanager:" in str(one.get("valueFrom", ""))
    ]


def exec_prerequisites(ask: Ask) -> Finding:
    """An init process reaps what Exec leaves behind; where sessions are logged, and by which key."""
    if not ask.settings.exec_required:
        return skip("no path of this run uses Exec")
    app = container(ask)
    configuration = (cluster(ask).get("configuration") or {}).get("executeCommandConfiguration")
    logging = _preflight_ecs.exec_logging(configuration)
    data = {"init_process": bool((app.get("linuxParameters") or {}).get("initProcessEnabled")), "logging": logging}
    problems = []
    if not data["init_process"]:
        problems.append("no init process in the container, so what Exec starts is never reaped")
    if str((configuration or {}).get("logging")) == "NONE":
        problems.append("the cluster logs no Exec session")
    if problems:
        return warn(
            listing(problems),
            "release a revision with linuxParameters.initProcessEnabled; "
            "aws ecs update-cluster --configuration executeCommandConfiguration={logging=DEFAULT}",
            **data,
        )
    return ok(f"init process on; sessions: {logging}", **data)


CHECKS = (
    Check("cluster", "Cluster is there", found_cluster),
    Check("deployment", "A release can follow its rollouts", deployment),
    Check("platform", "Platform and architecture", platform),
    Check("exec", "Exec leaves nothing behind, and is logged", exec_prerequisites),
    Check("logs", "The app's log can be read", only_warns(log_driver)),
)
