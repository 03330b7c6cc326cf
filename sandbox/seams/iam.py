"""IAM on ministack: pages of lists, and trust policies that name whom they named when it was deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from botocore.model import ListShape, StructureShape

from sandbox import emulator, pages, requests
from sandbox.behaviours import behaviour
from sandbox.iam import managed_policies
from sandbox.seams.refusal import Response

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
DEFAULT_ITEMS = 100
# As the API reference has the type of a permissions boundary, and the emulator.
LONG_TYPE = "PermissionsBoundaryPolicy"
Handler = Callable[[Mapping[str, Any]], Response]


def install(runtime: Runtime) -> None:
    iam = emulator.service("iam")
    managed_policies.add(iam)
    role_xml, user_xml = iam._role_xml, iam._user_xml
    iam._role_xml = lambda name, boundary=True: a_boundary_is_of_type_policy(
        no_description_is_not_shown(role_xml(name, boundary))
    )
    iam._user_xml = lambda name, boundary=True: a_boundary_is_of_type_policy(user_xml(name, boundary))
    handlers: dict[str, Handler] = iam._IAM_HANDLERS
    for operation, handler in list(handlers.items()):
        if member := listed_member(operation):
            handlers[operation] = paged(iam, operation, member, handler)
    for operation, parameter, store, entity in (
        ("DeleteUser", "UserName", iam._users, "UserId"),
        ("DeleteRole", "RoleName", iam._roles, "RoleId"),
    ):
        handlers[operation] = naming_the_deleted(iam, handlers[operation], parameter, store, entity)
    ElementTree.register_namespace("", NAMESPACE)


@behaviour("iam", otherwise=lambda xml: xml)
def no_description_is_not_shown(xml: str) -> str:
    """A role that was given no description is shown without one.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html (Description)
    """
    return xml.replace("<Description></Description>", "")


@behaviour("iam", otherwise=lambda xml: xml)
def a_boundary_is_of_type_policy(xml: str) -> str:
    """A permissions boundary of a role or user is shown with the type Policy.

    https://docs.aws.amazon.com/cli/latest/reference/iam/get-user.html
    """
    return xml.replace(f">{LONG_TYPE}<", ">Policy<")


def listed_member(operation: str) -> str | None:
    """The list in the answer of an operation that has pages."""
    model = requests.service_model("iam")
    if model is None or operation not in model.operation_names or not operation.startswith(("List", "GetGroup")):
        return None
    shape = model.operation_model(operation).output_shape
    given = model.operation_model(operation).input_shape
    if not isinstance(shape, StructureShape) or given is None or "Marker" not in given.members:
        return None
    lists = [name for name, member in shape.members.items() if isinstance(member, ListShape)]
    return lists[0] if len(lists) == 1 and "IsTruncated" in shape.members else None


def paged(iam: Any, operation: str, member: str, handler: Handler) -> Handler:
    def page(p: Mapping[str, Any]) -> Response:
        status, headers, body = handler(p)
        if status >= 400:
            return status, headers, body
        size = int(iam._p(p, "MaxItems") or DEFAULT_ITEMS)
        try:
            start = pages.start_of(operation, iam._p(p, "Marker"))
        except ValueError:
            refused: Response = iam._error(400, "ValidationError", "Invalid Marker")
            return refused
        return status, headers, lists_come_in_pages(body, operation, member, start, size)

    return page


@behaviour("iam", otherwise=lambda body, *_: body)
def lists_come_in_pages(body: bytes, operation: str, member: str, start: int, size: int) -> bytes:
    """Lists come in pages of MaxItems (100 unless told), with IsTruncated and the Marker of the next page.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoles.html (Marker, MaxItems, IsTruncated)
    """
    document = ElementTree.fromstring(body)
    result = document.find(f"{{{NAMESPACE}}}{operation}Result")
    found = result.find(f"{{{NAMESPACE}}}{member}") if result is not None else None
    if result is None or found is None:
        return body
    items = list(found)
    for item in [*items[:start], *items[start + size :]]:
        found.remove(item)
    truncated = len(items) > start + size
    flag = result.find(f"{{{NAMESPACE}}}IsTruncated")
    if flag is None:
        flag = ElementTree.SubElement(result, f"{{{NAMESPACE}}}IsTruncated")
    flag.text = str(truncated).lower()
    if truncated:
        marker = pages.token_of(operation, start + size)
        ElementTree.SubElement(result, f"{{{NAMESPACE}}}Marker").text = marker
    text: bytes = ElementTree.tostring(document, encoding="utf-8", xml_declaration=True)
    return text


def naming_the_deleted(iam: Any, handler: Handler, parameter: str, store: Any, identifier: str) -> Handler:
    def delete(p: Mapping[str, Any]) -> Response:
        record = dict(store.get(iam._p(p, parameter)) or {})
        response = handler(p)
        if response[0] < 400 and record:
            trust_nobody_else(iam, str(record["Arn"]), str(record[identifier]))
        return response

    return delete


@behaviour("iam")
def trust_nobody_else(iam: Any, arn: str, unique_id: str) -> None:
    """A trust policy that named a deleted user or role shows its unique id: a new one of that name is not trusted.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles
    """
    principal_renamed(iam, arn, unique_id)


def principal_renamed(iam: Any, before: str, after: str) -> None:
    """In every trust policy of the account."""
    for role in iam._roles.values():
        text = str(role.get("AssumeRolePolicyDocument") or "")
        if json.dumps(before) in text:
            role["AssumeRolePolicyDocument"] = text.replace(json.dumps(before), json.dumps(after))
