"""What the tests of CloudTrail and Config share: an account of their own, its history, imported records."""

from __future__ import annotations

import itertools
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config

from tests.sandbox.support import Sandbox

# Anybody may assume the role.
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}],
    }
)
_numbers = itertools.count(500_000_000_001)


@dataclass
class Account:
    """An account that nobody else uses: an access key of twelve digits is the root of that account."""

    sandbox: Sandbox
    number: str

    def client(self, service: str, region: str | None = None, **credentials: str) -> Any:
        given = {"aws_access_key_id": self.number, "aws_secret_access_key": self.sandbox.facts["secret_access_key"]}
        return boto3.client(
            service,
            endpoint_url=self.sandbox.endpoint,
            region_name=region or self.sandbox.facts["region"],
            config=Config(retries={"total_max_attempts": 1}),
            **{**given, **credentials},
        )

    def events(self, region: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """All events of a lookup, newest first, page after page; the rate limit must be off."""
        trail = self.client("cloudtrail", region)
        found: list[dict[str, Any]] = []
        while True:
            page = trail.lookup_events(**query)
            found += page["Events"]
            if "NextToken" not in page:
                return found
            query["NextToken"] = page["NextToken"]

    def record(self, request_id: str, region: str | None = None) -> dict[str, Any]:
        """The CloudTrail record with this request id."""
        found = [json.loads(event["CloudTrailEvent"]) for event in self.events(region)]
        wanted = [record for record in found if record["requestID"] == request_id]
        assert len(wanted) == 1, f"{len(wanted)} records have the request id {request_id}"
        return dict(wanted[0])

    def load(self, *documents: dict[str, Any]) -> dict[str, Any]:
        """Import a history; what the sandbox says of it."""
        lines = "\n".join(json.dumps(document) for document in documents).encode()
        status, _, body = self.sandbox.http("POST", "/_sandbox/cloudtrail", lines)
        answer: dict[str, Any] = json.loads(body)
        assert status == (400 if answer.get("refused") else 200), answer
        return answer

    def made_up(self, at: float, **further: Any) -> dict[str, Any]:
        """A record of this account."""
        return {
            "eventVersion": "1.11",
            "userIdentity": {"type": "Root", "accountId": self.number, "accessKeyId": "AKIAEXAMPLE"},
            "eventTime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": "ecs.amazonaws.com",
            "eventName": "RunTask",
            "awsRegion": self.sandbox.facts["region"],
            "requestParameters": {"cluster": "c"},
            "responseElements": None,
            "requestID": str(uuid.uuid4()),
            "eventID": str(uuid.uuid4()),
            "readOnly": False,
            "eventType": "AwsApiCall",
            "recipientAccountId": self.number,
            **further,
        }


def new_account(sandbox: Sandbox) -> Account:
    return Account(sandbox, str(next(_numbers)))
