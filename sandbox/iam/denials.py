"""How each service says that a caller is nobody it knows, or may not do this: code, HTTP status, message.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox.iam.evaluator import Decision
from sandbox.rules import Refusal

JSON = ("json", "rest-json", "smithy-rpc-v2-cbor")
# Services of a newer protocol that answer with the codes of the Query protocol, which they spoke before.
QUERY_CODES = ("cloudwatch", "sqs")
# Services that name no resource where an action has none; others say "on resource: *".
SILENT_ABOUT_EVERYTHING = ("cloudtrail", "cloudwatch", "config", "ec2", "elbv2", "secretsmanager")
EC2_AUTH = "AWS was not able to validate the provided access credentials"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
S3_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)


def shown(service: str, resource: str, region: str, account: str) -> str:
    """A resource as the service names it: SNS and SQS name all of a region where an action has none."""
    everything = {"sns": "*", "sqs": ""}.get(service)
    return resource if resource != "*" or everything is None else f"arn:aws:{service}:{region}:{account}:{everything}"


def denied(service: str, protocol: str, principal: str, action: str, resource: str, decision: Decision) -> Refusal:
    """The caller is known and may not."""
    where = f' on resource: "{resource}"' if service == "s3" else f" on resource: {resource}"
    if resource == "*" and service in SILENT_ABOUT_EVERYTHING:
        where = ""
    if service in ("sns", "sqs") and action.startswith(f"{service}:"):
        # SNS shouts its name, SQS whispers the whole action.
        action = action.lower() if service == "sqs" else action.replace("sns:", "SNS:", 1)
    if decision.kind == "explicitDeny":
        named = f": {decision.policy_arn}" if decision.policy_arn else ""
        why = f" with an explicit deny in {'an' if decision.by[0] in 'aeiou' else 'a'} {decision.by}{named}"
    else:
        why = f" because no {decision.by} allows the {action} action"
    text = f"User: {principal} is not authorized to perform: {action}{where}{why}"
    if service == "ec2":
        return Refusal("UnauthorizedOperation", f"You are not authorized to perform this operation. {text}", 403)
    if service == "sns":
        return Refusal("AuthorizationError", text, 403)
    if protocol in JSON and service not in QUERY_CODES:
        return Refusal("AccessDeniedException", text, 400)
    return Refusal("AccessDenied", text, 403)


def unauthenticated(kind: str, service: str, protocol: str, detail: str = "") -> Refusal:
    """`kind` is missing, unknown, token, expired, signature, skewed or incomplete."""
    if service == "s3":
        return S3[kind](detail)
    if service == "ec2":
        return EC2[kind](detail)
    code, message = COMMON[kind]
    message = detail or message
    if protocol in JSON and service not in QUERY_CODES:
        return Refusal(JSON_CODES[kind], message, 400)
    return Refusal(code, message, 400 if kind == "incomplete" else 403)


COMMON = {
    "missing": ("MissingAuthenticationToken", "Request is missing Authentication Token"),
    "unknown": ("InvalidClientTokenId", "The security token included in the request is invalid."),
    "token": ("InvalidClientTokenId", "The security token included in the request is invalid."),
    "expired": ("ExpiredToken", "The security token included in the request is expired"),
    "signature": ("SignatureDoesNotMatch", MISMATCH),
    "skewed": ("SignatureDoesNotMatch", "Signature expired"),
    "incomplete": ("IncompleteSignature", "The request signature does not conform to AWS standards."),
}
JSON_CODES = {
    "missing": "MissingAuthenticationTokenException",
    "unknown": "UnrecognizedClientException",
    "token": "UnrecognizedClientException",
    "expired": "ExpiredTokenException",
    "signature": "InvalidSignatureException",
    "skewed": "InvalidSignatureException",
    "incomplete": "IncompleteSignatureException",
}


def _fixed(code: str, message: str, status: int) -> Callable[[str], Refusal]:
    return lambda detail: Refusal(code, message, status)


# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
S3: dict[str, Callable[[str], Refusal]] = {
    "missing": _fixed("AccessDenied", "Access Denied", 403),
    "unknown": _fixed("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403),
    "token": _fixed("InvalidToken", "The provided token is malformed or otherwise invalid.", 400),
    "expired": _fixed("ExpiredToken", "The provided token has expired.", 400),
    "signature": _fixed("SignatureDoesNotMatch", S3_MISMATCH, 403),
    "skewed": lambda detail: (
        Refusal("AccessDenied", "Request has expired", 403)
        if detail == "presigned"
        else Refusal(
            "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", 403
        )
    ),
    "incomplete": _fixed("AuthorizationHeaderMalformed", "The authorization header is malformed.", 400),
}
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
EC2: dict[str, Callable[[str], Refusal]] = {
    "missing": _fixed("MissingParameter", "The request must contain the parameter AWSAccessKeyId", 400),
    "unknown": _fixed("AuthFailure", EC2_AUTH, 401),
    "token": _fixed("AuthFailure", EC2_AUTH, 401),
    "expired": _fixed("RequestExpired", "Request has expired.", 400),
    "signature": _fixed("AuthFailure", EC2_AUTH, 401),
    "skewed": _fixed("RequestExpired", "Request has expired.", 400),
    "incomplete": _fixed("AuthFailure", EC2_AUTH, 401),
}
