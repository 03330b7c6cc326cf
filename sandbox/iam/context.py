"""The condition keys of a request: global ones, tags of request and resource, and those of the service.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam import reference
from sandbox.iam.call import Call, Need, request_tags, tag_keys, tags_of
from sandbox.iam.principals import Principal
from sandbox.iam.services import ec2, ecs, elbv2, s3

Values = Sequence[str] | None
ServiceKeys = Callable[[Call, str], Mapping[str, Sequence[str]]]
SERVICE_KEYS: dict[str, ServiceKeys] = {
    "ec2": ec2.keys,
    "ecs": ecs.keys,
    "elasticloadbalancing": elbv2.keys,
    "s3": s3.keys,
}
# Parameter of any service → condition key that holds it.
PARAMETER_KEYS: dict[str, dict[str, str]] = {
    "iam": {
        "PolicyArn": "iam:policyarn",
        "PermissionsBoundary": "iam:permissionsboundary",
        "AWSServiceName": "iam:awsservicename",
    },
    "sts": {
        "ExternalId": "sts:externalid",
        "RoleSessionName": "sts:rolesessionname",
        "SourceIdentity": "sts:sourceidentity",
        "TransitiveTagKeys": "sts:transitivetagkeys",
        "DurationSeconds": "sts:durationseconds",
    },
    "secretsmanager": {
        "Name": "secretsmanager:name",
        "SecretId": "secretsmanager:secretid",
        "VersionId": "secretsmanager:versionid",
        "VersionStage": "secretsmanager:versionstage",
        "Description": "secretsmanager:description",
        "KmsKeyId": "secretsmanager:kmskeyid",
        "RecoveryWindowInDays": "secretsmanager:recoverywindowindays",
        "ForceDeleteWithoutRecovery": "secretsmanager:forcedeletewithoutrecovery",
    },
    "rds": {
        "Engine": "rds:databaseengine",
        "DBInstanceClass": "rds:databaseclass",
        "DBName": "rds:databasename",
        "PubliclyAccessible": "rds:publiclyaccessible",
        "ManageMasterUserPassword": "rds:managemasteruserpassword",
    },
    "sns": {"Protocol": "sns:protocol", "Endpoint": "sns:endpoint"},
    "cloudwatch": {"Namespace": "cloudwatch:namespace", "AlarmActions": "cloudwatch:alarmactions"},
}


class RequestContext:
    """The values of a condition key for one action on one resource (sandbox.iam.patterns.Context)."""

    def __init__(
        self,
        call: Call,
        principal: Principal,
        need: Need,
        resource: str,
        extra: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._call, self._principal, self._need, self._resource = call, principal, need, resource
        self._extra = extra or {}
        self._listed = None if (known := reference.action(need.action)) is None else known.keys_on(resource)
        self._tags: dict[str, str] | None = None
        self._service: Mapping[str, Sequence[str]] | None = None

    def __call__(self, key: str) -> Values:
        name = key.lower()
        if name in self._extra:
            return self._extra[name]
        if name.startswith("aws:") and not name.startswith(("aws:requesttag/", "aws:resourcetag/", "aws:tagkeys")):
            return global_key(self._call, self._principal, name)
        if not only_listed_keys_are_present(self._listed, name):
            return None
        if name in self._need.keys:
            return self._need.keys[name]
        return self._tag_key(name) if "tag" in name else self._service_key(name)

    def _tag_key(self, name: str) -> Values:
        kind, _, tag = name.partition("/")
        if name == "aws:tagkeys":
            keys = list(self._need.tags) if self._need.tags is not None else tag_keys(self._call.parameters)
            return keys or None
        if kind.endswith(":requesttag") or kind == "rds:req-tag":
            given = self._need.tags if self._need.tags is not None else request_tags(self._call.parameters)
            return _by_name(given, tag)
        if kind.endswith(":resourcetag") or (kind.startswith("rds:") and kind.endswith("-tag")):
            return _by_name(self._resource_tags(), tag)
        return self._service_key(name)

    def _resource_tags(self) -> Mapping[str, str]:
        if self._tags is None:
            self._tags = tags_of_the_resource(self._resource)
        return self._tags

    def _service_key(self, name: str) -> Values:
        prefix = name.partition(":")[0]
        if self._service is None:
            finder = SERVICE_KEYS.get(self._need.action.partition(":")[0])
            self._service = finder(self._call, self._resource) if finder else {}
        if name in self._service:
            return self._service[name]
        for parameter, key in PARAMETER_KEYS.get(prefix, {}).items():
            if key == name and parameter in self._call.parameters:
                return _texts(self._call.parameters[parameter])
        if prefix == "kms" and name == "kms:calleraccount":
            return [self._principal.account]
        if name.startswith("kms:encryptioncontext:"):
            given = self._call.parameters.get("EncryptionContext") or {}
            return _by_name({str(k): str(v) for k, v in given.items()}, name.partition(":")[2].partition(":")[2])
        return None


@behaviour("iam", stateful=False, otherwise=lambda listed, name: True)
def only_listed_keys_are_present(listed: frozenset[str] | None, name: str) -> bool:
    """A condition key that the Service Authorization Reference does not list for an action has no value there.

    https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
    """
    return listed is None or reference.lists(listed, name)


def _texts(value: object) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in listed]


def _by_name(tags: Mapping[str, str], name: str) -> Values:
    """Tag keys of condition keys are compared without case."""
    found = [value for key, value in tags.items() if key.lower() == name]
    return found or None


@behaviour("iam", otherwise=lambda resource: {})
def tags_of_the_resource(resource: str) -> dict[str, str]:
    """aws:ResourceTag is what the resource is tagged with at the moment of the call.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-resourcetag
    """
    parts = resource.split(":", 5)
    if len(parts) < 6 or "*" in parts[5]:
        return {}
    service = parts[2]
    own = {"ec2": ec2.tags, "ecs": ecs.tags, "elasticloadbalancing": elbv2.tags, "s3": s3.tags}
    if service in own:
        return own[service](resource)
    if service == "iam":
        return _iam_tags(resource)
    if service == "logs":
        return _log_group_tags(parts[5])
    stores = {
        "rds": ("rds", "_tags"),
        "cloudwatch": ("cloudwatch", "_resource_tags"),
        "cloudtrail": ("cloudtrail", "_trail_tags"),
    }
    if service in stores:
        module, name = stores[service]
        return tags_of(getattr(emulator.service(module), name).get(resource))
    found = emulator.service("tagging").resource_tags(resource)
    return dict(found or {})


def _iam_tags(resource: str) -> dict[str, str]:
    iam = emulator.service("iam")
    for store in (iam._roles, iam._users, iam._policies, iam._instance_profiles, iam._oidc_providers):
        for record in store.values():
            if record.get("Arn") == resource:
                return tags_of(record.get("Tags"))
    return {}


def _log_group_tags(resource: str) -> dict[str, str]:
    name = resource.removeprefix("log-group:").partition(":log-stream:")[0]
    return tags_of((emulator.service("cloudwatch_logs")._log_groups.get(name) or {}).get("tags"))


@behaviour("iam", stateful=False, otherwise=lambda call: call.region)
def requested_region(call: Call) -> str:
    """IAM, Route 53 and CloudFront are global: to conditions their calls go to us-east-1, wherever they were sent.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-requestedregion
    """
    return "us-east-1" if call.service in ("iam", "route53", "cloudfront") else call.region


def global_key(call: Call, principal: Principal, name: str) -> Values:
    """A condition key that every request has, whatever the service. `name` in lower case."""
    if name.startswith("aws:principaltag/"):
        return _by_name(principal.tags, name.partition("/")[2])
    simple: dict[str, str | None] = {
        "aws:principalarn": principal.role_arn or principal.arn,
        "aws:principalaccount": principal.account,
        "aws:principaltype": principal.kind,
        "aws:userid": principal.user_id,
        "aws:username": principal.name if principal.kind == "User" else None,
        "aws:sourceip": "127.0.0.1",
        # The gateway speaks plain HTTP and stands for endpoints that everybody reaches over HTTPS.
        "aws:securetransport": "true",
        "aws:requestedregion": requested_region(call),
        "aws:resourceaccount": call.account,
        "aws:useragent": call.headers.get("user-agent"),
        "aws:referer": call.headers.get("referer"),
        "aws:viaawsservice": "false",
        "aws:principalisawsservice": "false",
        "aws:currenttime": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "aws:epochtime": str(int(datetime.now(UTC).timestamp())),
    }
    session = principal.session or {}
    if principal.session is not None:
        # Long-term keys have no such key at all. No device can be shown here.
        simple["aws:multifactorauthpresent"] = "false"
        simple["aws:sourceidentity"] = str(session["SourceIdentity"]) if session.get("SourceIdentity") else None
        issued = float(session.get("IssuedAt") or 0)
        simple["aws:tokenissuetime"] = datetime.fromtimestamp(issued, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        simple["aws:federatedprovider"] = session.get("WebIdentityProvider")
    value = simple.get(name)
    return None if value is None else [value]
