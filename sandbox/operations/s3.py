"""Operations of S3 that are not served here, and say so: the emulator takes them for others of the same path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.operations import operation
from sandbox.requests import service_model
from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# As the query string names them.
NOT_SERVED = frozenset(
    {
        "abac",
        "analytics",
        "intelligent-tiering",
        "inventory",
        "metadataAnnotationTable",
        "metadataConfiguration",
        "metadataInventoryTable",
        "metadataJournalTable",
        "metadataTable",
        "metrics",
        "policyStatus",
        "renameObject",
        "select",
        "session",
        "torrent",
    }
)


def _names() -> list[str]:
    model = service_model("s3")
    queries = (
        {name: str(model.operation_model(name).http["requestUri"]).partition("?")[2] for name in model.operation_names}
        if model
        else {}
    )
    return [name for name, query in queries.items() if query.partition("&")[0] in NOT_SERVED]


def not_implemented(runtime: Runtime, request: ApiRequest) -> Refusal:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (NotImplemented)"""
    return Refusal("NotImplemented", "A header you provided implies functionality that is not implemented.", 501)


for _name in [*_names(), "UpdateObjectEncryption"]:
    operation("s3", _name)(not_implemented)
