"""What RDS lists: in pages, by filters, and the versions and classes that there are."""

from __future__ import annotations

import re
from typing import Any

from sandbox import pages
from sandbox.behaviours import behaviour
from sandbox.rules.rds import VERSIONS, family
from sandbox.seams.refusal import Handler, Params, Refused, Response

# Operation → (element of an entry, element in it that names the entry).
LISTED = {
    "DescribeDBInstances": ("DBInstance", "DBInstanceIdentifier"),
    "DescribeDBSubnetGroups": ("DBSubnetGroup", "DBSubnetGroupName"),
    "DescribeDBParameterGroups": ("DBParameterGroup", "DBParameterGroupName"),
    "DescribeDBParameters": ("Parameter", "ParameterName"),
    "DescribeDBSnapshots": ("DBSnapshot", "DBSnapshotIdentifier"),
    "DescribeDBEngineVersions": ("DBEngineVersion", "EngineVersion"),
    "DescribeOrderableDBInstanceOptions": ("OrderableDBInstanceOption", "DBInstanceClass"),
}
# Filter → what it compares. https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBInstances.html
FILTERS = {
    "db-instance-id": ("DBInstanceIdentifier", "DBInstanceArn"),
    "dbi-resource-id": ("DbiResourceId",),
    "engine": ("Engine",),
    "db-cluster-id": ("DBClusterIdentifier",),
    "domain": (),
}
CLASSES = [
    f"db.{generation}.{size}"
    for generations, sizes in (
        (("t3", "t4g"), ("micro", "small", "medium", "large", "xlarge", "2xlarge")),
        (("m5", "m6g", "m6i", "m7g", "r5", "r6g", "r6i", "r7g"), ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge")),
    )
    for generation in generations
    for size in sizes
]
CLASS_OF_THE_EMULATOR = "db.t3.micro"
OPTION = r"<OrderableDBInstanceOption>.*?</OrderableDBInstanceOption>"


def install(rds: Any) -> None:
    actions = rds._ACTION_MAP
    stock = rds._apply_instance_filters
    rds._apply_instance_filters = lambda instances, filters: instances_by_filters(instances, filters, stock)
    versions, options = actions["DescribeDBEngineVersions"], actions["DescribeOrderableDBInstanceOptions"]
    actions["DescribeDBEngineVersions"] = lambda p: engine_versions_have_their_families(rds, p, versions)
    actions["DescribeOrderableDBInstanceOptions"] = lambda p: current_classes_can_be_ordered(rds, p, options)
    for operation, (element, name) in LISTED.items():
        actions[operation] = _paged(rds, actions[operation], element, name)


def _paged(rds: Any, listed: Handler, element: str, name: str) -> Handler:
    return lambda p: lists_come_in_pages(rds, p, listed, element, name)


@behaviour("rds", code="InvalidParameterValue", otherwise=lambda rds, p, listed, element, name: listed(p))
def lists_come_in_pages(rds: Any, p: Params, listed: Handler, element: str, name: str) -> Response:
    """Lists come in pages of MaxRecords, 100 without it, each with the marker of the next.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBInstances.html (Marker)
    """
    most = rds._p(p, "MaxRecords") or "100"
    if not most.isdigit() or not 20 <= int(most) <= 100:
        raise Refused("InvalidParameterValue", f"Invalid value {most} for MaxRecords. Must be between 20 and 100")
    status, headers, body = listed(p)
    if status != 200:
        return status, headers, body
    text = body.decode()
    entries = re.findall(rf"<{element}>.*?</{element}>", text, re.DOTALL)
    start = _start(element, rds._p(p, "Marker"), [_text(entry, name) for entry in entries])
    page = entries[start : start + int(most)]
    for entry in [*entries[:start], *entries[start + int(most) :]]:
        text = text.replace(entry, "", 1)
    if start + int(most) < len(entries):
        marker = pages.token_of(element, _text(page[-1], name))
        text = re.sub(r"(<Describe\w+Result>)", rf"\1<Marker>{marker}</Marker>", text, count=1)
    return status, headers, text.encode()


def _text(entry: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", entry, re.DOTALL)
    return found.group(1) if found else ""


def _start(element: str, marker: str, names: list[str]) -> int:
    if not marker:
        return 0
    try:
        return names.index(pages.place_of(element, marker)) + 1
    except ValueError:
        raise Refused("InvalidParameterValue", f"The value for Marker, {marker}, is not valid.") from None


@behaviour("rds", code="InvalidParameterValue", otherwise=lambda instances, filters, stock: stock(instances, filters))
def instances_by_filters(
    instances: list[dict[str, Any]], filters: dict[str, list[str]], stock: Any
) -> list[dict[str, Any]]:
    """Instances are filtered by identifier or ARN, resource id and engine; an unknown filter is refused.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBInstances.html (Filters)
    """
    for name in filters:
        if name not in FILTERS:
            raise Refused("InvalidParameterValue", f"Unrecognized filter name: {name}")
    return [
        one
        for one in instances
        if all(any(one.get(key) in values for key in FILTERS[name]) for name, values in filters.items())
    ]


@behaviour("rds", stateful=False, otherwise=lambda rds, p, stock: stock(p))
def engine_versions_have_their_families(rds: Any, p: Params, stock: Handler) -> Response:
    """Each engine version is described with the family that its parameter groups have, the default ones on demand.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBEngineVersions.html
    """
    if rds._p(p, "Engine") != "postgres":
        return stock(p)
    asked, group = rds._p(p, "EngineVersion"), rds._p(p, "DBParameterGroupFamily")
    default_only = rds._p(p, "DefaultOnly") == "true"
    members = ""
    for major, minors in VERSIONS.items():
        for version in minors:
            wanted = asked in ("", major, version) and group in ("", family(version))
            default = version == minors[-1] if asked or group else version == VERSIONS["17"][-1]
            if wanted and (default or not default_only):
                members += _version(version, major)
    inner = f"<DBEngineVersions>{members}</DBEngineVersions>"
    response: Response = rds._xml(
        200,
        "DescribeDBEngineVersionsResponse",
        f"<DescribeDBEngineVersionsResult>{inner}</DescribeDBEngineVersionsResult>",
    )
    return response


def _version(version: str, major: str) -> str:
    later = [one for each, minors in VERSIONS.items() if int(each) >= int(major) for one in minors]
    targets = "".join(
        f"<UpgradeTarget><Engine>postgres</Engine><EngineVersion>{one}</EngineVersion>"
        f"<Description>PostgreSQL {one}</Description><AutoUpgrade>false</AutoUpgrade>"
        f"<IsMajorVersionUpgrade>{str(family(one) != family(version)).lower()}</IsMajorVersionUpgrade></UpgradeTarget>"
        for one in later[later.index(version) + 1 :]
    )
    return (
        f"<DBEngineVersion><Engine>postgres</Engine><EngineVersion>{version}</EngineVersion>"
        f"<DBParameterGroupFamily>{family(version)}</DBParameterGroupFamily>"
        f"<DBEngineDescription>PostgreSQL</DBEngineDescription>"
        f"<DBEngineVersionDescription>PostgreSQL {version}</DBEngineVersionDescription>"
        f"<MajorEngineVersion>{major}</MajorEngineVersion><ValidUpgradeTarget>{targets}</ValidUpgradeTarget>"
        "<ExportableLogTypes><member>postgresql</member><member>upgrade</member></ExportableLogTypes>"
        "<SupportsLogExportsToCloudwatchLogs>true</SupportsLogExportsToCloudwatchLogs>"
        "<SupportsReadReplica>true</SupportsReadReplica><Status>available</Status></DBEngineVersion>"
    )


@behaviour("rds", stateful=False, otherwise=lambda rds, p, stock: stock(p))
def current_classes_can_be_ordered(rds: Any, p: Params, stock: Handler) -> Response:
    """The classes that instances can have include the current generations.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeOrderableDBInstanceOptions.html
    """
    asked = rds._p(p, "DBInstanceClass")
    status, headers, body = stock({**p, "DBInstanceClass": [CLASS_OF_THE_EMULATOR]})
    entries = re.findall(OPTION, body.decode(), re.DOTALL)
    if status != 200 or not entries:
        return status, headers, body
    classes = [one for one in CLASSES if asked in ("", one)]
    members = "".join(entries[0].replace(CLASS_OF_THE_EMULATOR, one) for one in classes)
    return status, headers, body.replace(entries[0].encode(), members.encode())
