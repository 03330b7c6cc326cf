"""How each service of AWS spells the errors that all of them have: throttled, expired credentials, out of order.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (EC2),
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (S3), and the page "Common Errors" of each API's
reference for the others. That JSON services name what their front layer refuses `com.amazon.coral.service#…` was seen
by microburst (PyPI, 0.10), a fault proxy that was compared with the real APIs.
"""

from __future__ import annotations

KINDS = ("throttled", "expired", "internal", "unavailable")

# kind → service, else protocol → (status, code); message of the kind below.
_SPELLED: dict[str, dict[str, tuple[int, str]]] = {
    "throttled": {
        "ec2": (503, "RequestLimitExceeded"),
        "s3": (503, "SlowDown"),
        "query": (400, "Throttling"),
        "": (400, "ThrottlingException"),
    },
    "expired": {
        "ec2": (400, "RequestExpired"),
        "s3": (400, "ExpiredToken"),
        "query": (403, "ExpiredToken"),
        "json": (400, "com.amazon.coral.service#ExpiredTokenException"),
        "": (403, "ExpiredTokenException"),
    },
    "internal": {
        "ec2": (500, "InternalError"),
        "s3": (500, "InternalError"),
        "ecs": (500, "ServerException"),
        "secretsmanager": (500, "InternalServiceError"),
        "kms": (500, "KMSInternalException"),
        "": (500, "InternalFailure"),
    },
    "unavailable": {
        "ec2": (503, "Unavailable"),
        "logs": (503, "ServiceUnavailableException"),
        "": (503, "ServiceUnavailable"),
    },
}
_MESSAGES = {
    "throttled": "Rate exceeded",
    "expired": "The security token included in the request is expired",
    "internal": "An internal error has occurred",
    "unavailable": "The service is temporarily unavailable. Please try again later",
}


def spelled(kind: str, service: str, protocol: str) -> tuple[int, str, str]:
    """(status, code, message) of an error of this kind, as the service has it."""
    table = _SPELLED[kind]
    status, code = table.get(service) or table.get(protocol) or table[""]
    return status, code, _MESSAGES[kind]
