"""The ARNs of the resources that a call names, by the reference's templates and the parameters that fill them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sandbox.iam import reference
from sandbox.iam.call import Call, arns_in, values_of
from sandbox.iam.services import ec2, ecs, elbv2, names, s3

# Variable of a template → parameters that hold it. A name that several services use goes by service:variable.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "RepositoryName": ("repositoryName", "repositoryNames"),
    "AlarmName": ("AlarmName", "AlarmNames"),
    "DashboardName": ("DashboardName", "DashboardNames"),
    "DbInstanceName": ("DBInstanceIdentifier",),
    "DbClusterInstanceName": ("DBClusterIdentifier",),
    "SubnetGroupName": ("DBSubnetGroupName",),
    "ParameterGroupName": ("DBParameterGroupName",),
    "OptionGroupName": ("OptionGroupName",),
    "SnapshotName": ("DBSnapshotIdentifier",),
    "sns:TopicName": ("Name",),
    "TrailName": ("TrailName", "Name", "TrailNameList", "trailNameList"),
    "CertificateId": (),
    "EventBusName": ("EventBusName",),
    "RecorderName": ("ConfigurationRecorderName",),
    "Id": ("Id", "HostedZoneId"),
}
Finder = Callable[[Call, str], Sequence[str] | None]
# Services with ways of their own; None of theirs: by the reference.
FINDERS: dict[str, Finder] = {
    "ec2": ec2.resources,
    "ecs": ecs.resources,
    "elasticloadbalancing": elbv2.resources,
    "s3": s3.resources,
    "iam": names.iam_resources,
    "sts": names.iam_resources,
    "secretsmanager": names.secrets,
    "logs": names.logs,
    "events": names.events,
    "sqs": names.sqs,
    "kms": names.kms,
    "rds": names.rds,
}


def of(call: Call, action: str) -> Sequence[str]:
    """The resources of an action in this call: ARNs, with `*` where a name is not yet known, or just `*`."""
    known = reference.action(action)
    if known is None or not known.resource_types:
        return ("*",)
    finder = FINDERS.get(action.partition(":")[0])
    found = finder(call, action) if finder else None
    if found is None:
        found = by_reference(call, known)
    return list(dict.fromkeys(found)) or ("*",)


def by_reference(call: Call, action: reference.Action) -> list[str]:
    given = list(dict.fromkeys(arns_in(dict(call.parameters))))
    found: list[str] = []
    for kind in action.resource_types:
        matching = [arn for arn in given if kind.matches(arn)] or _named(call, kind)
        found += matching
    if found:
        return found
    wanted = [kind for kind in action.resource_types if kind.required] or list(action.resource_types[:1])
    return [fill(call, kind.template, {}) for kind in wanted if kind.template]


def _named(call: Call, kind: reference.ResourceType) -> list[str]:
    variables = kind.variables
    if len(variables) != 1:
        return []
    prefix = reference.prefix_of(call.service)
    names = PARAMETERS.get(f"{prefix}:{variables[0]}") or PARAMETERS.get(variables[0]) or (variables[0],)
    values = values_of(call.parameters, names)
    return [fill(call, kind.template, {variables[0]: value}) for value in values if not value.startswith("arn:")]


def fill(call: Call, template: str, values: dict[str, str]) -> str:
    """The template with these variables; `*` for those that nobody knows."""
    known = {"Partition": "aws", "Region": call.region, "Account": call.account, **values}
    return reference.VARIABLE.sub(lambda found: known.get(found[1], "*"), template)
