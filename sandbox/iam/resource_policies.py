"""Policies that resources have themselves, where the emulator keeps them."""

from __future__ import annotations

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam.call import Call, Need
from sandbox.iam.evaluator import ResourcePolicy

# Whoever may manage the policy of a resource keeps that right: root of the account can always mend it.
KINDS = {"s3", "sqs", "sns", "secretsmanager", "ecr", "kms", "lambda"}


@behaviour("iam", code="AccessDenied")
def policy_of(call: Call, need: Need, resource: str) -> ResourcePolicy | None:
    """A bucket's, queue's, topic's, key's, secret's or repository's own policy grants and denies as well.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html
    """
    service = need.action.partition(":")[0]
    if service not in KINDS or not resource.startswith("arn:") or "*" in resource.rpartition(":")[2].partition("/")[0]:
        return None
    found = emulator.core("iam_evaluator")._resource_policy(service, resource)
    if found is None:
        return None
    document, owner = found
    # A key without a policy of its own has the default one, which lets the account's policies decide.
    required = service == "kms" and bool(document)
    return ResourcePolicy(str(document or "{}"), str(owner or call.account), required)
