"""What somebody asks before a first run: what an account may have, and what a principal may do."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.iam_support import allow, document, statement, user
from tests.sandbox.support import Sandbox, refused

RULES = "L-0EA8095F"


def test_load_balancing_tells_its_limits_by_pages(sandbox: Sandbox) -> None:
    elbv2 = sandbox.client("elbv2")
    known = {one["Name"]: one["Max"] for one in elbv2.describe_account_limits()["Limits"]}
    assert known["application-load-balancers"] == "50"
    assert known["target-groups"] == "3000"
    pages = list(elbv2.get_paginator("describe_account_limits").paginate(PaginationConfig={"PageSize": 4}))
    assert [len(page["Limits"]) for page in pages] == [4, 4, 2]
    assert {one["Name"]: one["Max"] for page in pages for one in page["Limits"]} == known
    with refused("ValidationError"):
        elbv2.describe_account_limits(Marker="nobody's")


def test_service_quotas_lists_what_is_applied(sandbox: Sandbox) -> None:
    quotas = sandbox.client("service-quotas")
    found = {one["QuotaCode"]: one for one in quotas.list_service_quotas(ServiceCode="vpc")["Quotas"]}
    assert found[RULES]["Value"] == 60.0
    assert found["L-E79EC296"]["QuotaName"] == "VPC security groups per Region"
    assert found[RULES]["QuotaArn"] == f"arn:aws:servicequotas:us-west-2:123456789012:vpc/{RULES}"
    (one,) = quotas.list_service_quotas(ServiceCode="vpc", QuotaCode=RULES)["Quotas"]
    assert one == found[RULES]
    paginator = quotas.get_paginator("list_service_quotas").paginate(
        ServiceCode="vpc", PaginationConfig={"PageSize": 2}
    )
    pages = [[one["QuotaCode"] for one in page["Quotas"]] for page in paginator]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [code for page in pages for code in page] == list(found)
    with refused("NoSuchResourceException"):
        quotas.list_service_quotas(ServiceCode="nothing")
    with refused("InvalidPaginationTokenException"):
        quotas.list_service_quotas(ServiceCode="vpc", NextToken="nobody's")


def test_quotas_are_asked_for_with_actions_of_their_own(sandbox: Sandbox) -> None:
    with (
        sandbox.switched(iam=True),
        user(sandbox, allow("servicequotas:ListServiceQuotas")) as reader,
        user(sandbox, allow("ecs:ListClusters")) as other,
    ):
        assert reader.client("service-quotas").list_service_quotas(ServiceCode="vpc")["Quotas"]
        with pytest.raises(ClientError) as denied:
            other.client("service-quotas").list_service_quotas(ServiceCode="vpc")
        assert denied.value.response["Error"]["Code"] == "AccessDeniedException"
        assert "servicequotas:ListServiceQuotas" in str(denied.value)
        with refused("AccessDenied"):
            other.client("elbv2").describe_account_limits()


@pytest.mark.parametrize(("service", "operation"), [("sts", "get_caller_identity"), ("ecs", "list_clusters")])
def test_every_answer_says_when_it_was_given_once(sandbox: Sandbox, service: str, operation: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    headers = getattr(sandbox.client(service), operation)()["ResponseMetadata"]["HTTPHeaders"]
    assert before <= parsedate_to_datetime(headers["date"]) <= datetime.now(UTC)  # two of them are none of this form


@pytest.mark.behaviour("iam.one_result_an_action")
def test_a_simulation_has_one_result_an_action_with_those_of_its_resources(sandbox: Sandbox) -> None:
    topics = [f"arn:aws:sns:us-west-2:123456789012:{name}" for name in ("ours", "theirs", "closed")]
    policy = document(
        statement("Allow", "sns:Publish", resource=[topics[0], topics[2]]),
        statement("Deny", "sns:Publish", resource=topics[2]),
    )
    iam: Any = sandbox.client("iam")

    def simulated(who: str, *resources: str) -> dict[str, Any]:
        given = {"ResourceArns": list(resources)} if resources else {}
        (one,) = iam.simulate_principal_policy(PolicySourceArn=who, ActionNames=["sns:Publish"], **given)[
            "EvaluationResults"
        ]
        return dict(one)

    with user(sandbox, policy) as who:
        every = simulated(who.arn, *topics)
        assert every["EvalDecision"] == "explicitDeny"
        assert {one["EvalResourceName"]: one["EvalResourceDecision"] for one in every["ResourceSpecificResults"]} == {
            topics[0]: "allowed",
            topics[1]: "implicitDeny",
            topics[2]: "explicitDeny",
        }
        assert simulated(who.arn, *topics[:2])["EvalDecision"] == "implicitDeny"
        assert simulated(who.arn, topics[0])["EvalDecision"] == "allowed"
        assert "ResourceSpecificResults" not in simulated(who.arn)
