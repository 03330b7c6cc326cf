"""Whether a request has the shape that the service's model asks for, said as the service says it.

What the services have in common: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html, and each
service's own page of that name. Which constraint of the model a service enforces, and in what words, differs; what is
not known to be refused is let through.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.model import OperationModel, Shape, StructureShape

from sandbox.constraints import Checker, Violation, WrongType
from sandbox.requests import service_model, speaks
from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest

ALL = frozenset({"missing", "range", "length", "pattern", "enum"})
MALFORMED_XML = Refusal(
    "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
)
# Values in S3's documents that have errors of their own, or patterns in them.
S3_OPEN = frozenset({"BucketLocationConstraint", "Event"})
Say = Callable[[list[Violation]], Refusal]


@dataclass(frozen=True)
class Dialect:
    """How a service refuses values. `say` has the violations, in the model's order; `enforced` are their kinds."""

    say: Say
    enforced: Collection[str] = ALL


def collected(code: str) -> Say:
    """As the framework says it that most services share: all that does not hold, in one message."""

    def say(violations: list[Violation]) -> Refusal:
        count = len(violations)
        plural = "s" if count > 1 else ""
        return Refusal(code, f"{count} validation error{plural} detected: {'; '.join(map(str, violations))}")

    return say


def missing_first(code: str, words: str, other: Say) -> Say:
    """A missing parameter by the service's own code and words ({name}: with a capital letter), the rest as `other`."""

    def say(violations: list[Violation]) -> Refusal:
        missing = next((violation for violation in violations if violation.kind == "missing"), None)
        if missing is None:
            return other(violations)
        name = missing.path.rpartition(".")[2]
        return Refusal(code, words.format(name=name[:1].upper() + name[1:]))

    return say


def _ecr(violations: list[Violation]) -> Refusal:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html (Errors)"""
    first = violations[0]
    words = first.constraint.replace("Member must", "must")
    if first.kind == "pattern":
        words = f"must satisfy regular expression '{words.partition(': ')[2]}'"
    return Refusal(
        "InvalidParameterException", f"Invalid parameter at '{first.path}' failed to satisfy constraint: '{words}'"
    )


def _ec2(violations: list[Violation]) -> Refusal:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
    first = violations[0]
    low = "greater" in first.constraint
    words = f"Expecting a value {'greater' if low else 'smaller'} than {first.limit}."
    return Refusal("InvalidParameterValue", f"Value ( {first.value} ) for parameter {first.path} is invalid. {words}")


def _cloudtrail(violations: list[Violation]) -> Refusal:
    """https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html (Errors)"""
    if (first := violations[0]).path == "maxResults" and first.kind == "range":
        words = f"A max results value of {first.value} is invalid. Specify max results between 1 and 50."
        return Refusal("InvalidMaxResultsException", words)
    return collected("ValidationException")(violations)


VALIDATION_ERROR = Dialect(collected("ValidationError"))
VALIDATION_EXCEPTION = Dialect(collected("ValidationException"))
INVALID_PARAMETER = collected("InvalidParameterException")
# Services that are not named here are the emulator's: only requests that cannot be read at all are refused for them.
DIALECTS = {
    "elbv2": VALIDATION_ERROR,
    "iam": VALIDATION_ERROR,
    "sts": VALIDATION_ERROR,
    "sns": VALIDATION_ERROR,
    "cloudwatch": VALIDATION_ERROR,
    "autoscaling": VALIDATION_ERROR,
    "rds": Dialect(
        missing_first(
            "InvalidParameterValue",
            "The parameter {name} must be provided and must not be blank.",
            collected("InvalidParameterValue"),
        )
    ),
    # EC2's models list values of many kinds that its API takes others of, and no lengths that it holds to.
    "ec2": Dialect(
        missing_first("MissingParameter", "The request must contain the parameter {name}", _ec2), {"missing", "range"}
    ),
    "ecs": Dialect(missing_first("InvalidParameterException", "{name} can not be blank.", INVALID_PARAMETER)),
    "ecr": Dialect(_ecr),
    "logs": Dialect(INVALID_PARAMETER),
    "resourcegroupstaggingapi": Dialect(INVALID_PARAMETER),
    "secretsmanager": VALIDATION_EXCEPTION,
    "cloudtrail": Dialect(_cloudtrail),
    "config": VALIDATION_EXCEPTION,
    "events": VALIDATION_EXCEPTION,
    "kms": VALIDATION_EXCEPTION,
    "ssm": VALIDATION_EXCEPTION,
    "acm": VALIDATION_EXCEPTION,
    "sqs": Dialect(
        missing_first("MissingParameter", "The request must contain the parameter {name}.", INVALID_PARAMETER),
        {"missing"},
    ),
}


def refusal(request: ApiRequest) -> Refusal | None:
    """What the service would object to; None when the shape is right."""
    operation = request.model
    if operation is None:
        return _unknown_operation(request)
    if request.malformed is not None:
        return _malformed(request.protocol, request.malformed)
    if request.service == "s3":
        return _s3_refusal(request, operation)
    dialect = DIALECTS.get(request.service)
    if dialect is None or not speaks(operation, request.protocol):
        return None
    if request.unknown and request.protocol == "ec2":
        return Refusal("UnknownParameter", f"The parameter {request.unknown[0]} is not recognized")
    try:
        checker = _checker(request.service, operation.name, request.protocol)
        violations = checker(request.parameters) if checker else []
    except WrongType as error:
        return _wrong_type(request.protocol, error)
    return dialect.say(violations) if violations else None


@functools.cache
def _checker(service: str, operation: str, protocol: str) -> Checker | None:
    model = service_model(service)
    shape = model.operation_model(operation).input_shape if model else None
    enforced = DIALECTS[service].enforced
    return None if shape is None else Checker(shape, protocol, lambda kind, _: kind in enforced)


def _s3_refusal(request: ApiRequest, operation: OperationModel) -> Refusal | None:
    """S3's documents by the model; numbers in the query string.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """
    shape = operation.input_shape
    if shape is None:
        return None
    for name, member in shape.members.items():
        given = request.parameters.get(name)
        if member.type_name == "integer" and isinstance(given, str):
            wire = member.serialization.get("name", name)
            return Refusal("InvalidArgument", f"Provided {wire} not an integer or within integer range")
    payload = str(shape.serialization.get("payload", ""))
    if not payload or not isinstance(shape.members[payload], StructureShape):
        return None
    document = request.parameters.get(payload)
    if document is None:
        return (
            Refusal("MissingRequestBodyError", "Request Body is empty") if payload in shape.required_members else None
        )
    try:
        violations = _document_checker(operation.name, payload)(document)
    except WrongType:
        return MALFORMED_XML
    return MALFORMED_XML if violations else None


@functools.cache
def _document_checker(operation: str, payload: str) -> Checker:
    model = service_model("s3")
    shape = model.operation_model(operation).input_shape if model else None
    assert shape is not None, operation

    def wanted(kind: str, member: Shape) -> bool:
        return kind in ("missing", "enum") and member.name not in S3_OPEN

    return Checker(shape.members[payload], "rest-xml", wanted)


def _unknown_operation(request: ApiRequest) -> Refusal | None:
    model = service_model(request.service)
    if model is None:
        return None
    if request.protocol == "ec2":
        if not request.operation:
            return Refusal("MissingAction", "The request is missing an action or a required parameter.")
        return Refusal("InvalidAction", f"The action {request.operation} is not valid for this web service.")
    if request.protocol == "query":
        if not request.operation:
            return Refusal("MissingAction", "The request is missing an action or a required parameter.")
        version = model.metadata.get("apiVersion", "")
        return Refusal("InvalidAction", f"Could not find operation {request.operation} for version {version}")
    if request.protocol == "rest-xml":
        return Refusal("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)
    return Refusal("UnknownOperationException", "", 404 if request.protocol == "rest-json" else 400)


def _malformed(protocol: str, why: str) -> Refusal:
    if protocol == "rest-xml":
        return MALFORMED_XML
    if protocol in ("query", "ec2"):
        return Refusal("MalformedQueryString" if "query string" in why else "MalformedInput", why)
    return Refusal("SerializationException", why)


def _wrong_type(protocol: str, error: WrongType) -> Refusal:
    if protocol == "rest-xml":
        return MALFORMED_XML
    if protocol == "ec2":
        return Refusal("InvalidParameterValue", f"Value ({error.value}) for parameter {error.path} is invalid.")
    if protocol == "query":
        words = (
            "boolean must follow xsd1.1 definition" if error.kind == "boolean" else f'For input string: "{error.value}"'
        )
        return Refusal("MalformedInput", words)
    return Refusal("SerializationException", str(error))
