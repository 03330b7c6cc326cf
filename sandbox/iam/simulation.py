"""SimulatePrincipalPolicy and SimulateCustomPolicy: the evaluator that IAM mode uses, asked without a call.

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_testing-policies.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour
from sandbox.iam import reference
from sandbox.iam.documents import statements
from sandbox.iam.evaluator import Caller, Decision, ResourcePolicy, decide
from sandbox.iam.patterns import VARIABLE
from sandbox.iam.principals import boundary_of, role_policies, user_policies
from sandbox.iam.records import live
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


def of_principal(request: ApiRequest) -> dict[str, Any]:
    arn = str(request.parameters["PolicySourceArn"])
    parts = arn.split(":", 5)
    kind, _, path = parts[5].partition("/") if len(parts) == 6 else ("", "", "")
    found, account, name = live(), parts[4] if len(parts) == 6 else "", path.rpartition("/")[2]
    stores = {"user": "users", "role": "roles", "group": "groups"}
    record = found.get(stores[kind], account, name) if kind in stores else None
    if kind not in stores:
        raise Refused("InvalidInput", f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    if record is None or record.get("Arn") != arn:
        raise Refused("NoSuchEntity", f"The {kind} with name {name} cannot be found.", 404)
    if kind == "user":
        policies = user_policies(found, account, name)
    elif kind == "role":
        policies = role_policies(found, account, name)
    else:
        inline = found.get("group_inline_policies", account, name) or {}
        attached = (found.document(account, one) for one in record.get("AttachedPolicies") or [])
        policies = [*map(str, inline.values()), *(one for one in attached if one)]
    more = [str(one) for one in request.parameters.get("PolicyInputList") or []]
    given: dict[str, Sequence[str]] = {"aws:principalarn": [arn], "aws:principalaccount": [account]}
    if kind == "user":
        given |= {"aws:username": [name], "aws:userid": [str(record["UserId"])]}
    caller = Caller(
        account, arn, arn if kind == "role" else "", [*policies, *more], boundary_of(found, account, record)
    )
    return _results(request, caller, given)


def of_documents(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    arn = str(request.parameters.get("CallerArn") or "")
    account = arn.split(":")[4] if arn.count(":") >= 5 else runtime.settings.account
    documents = [str(one) for one in request.parameters.get("PolicyInputList") or []]
    return _results(request, Caller(account, arn, policies=documents), {"aws:principalarn": [arn]} if arn else {})


def _results(request: ApiRequest, caller: Caller, given: dict[str, Sequence[str]]) -> dict[str, Any]:
    parameters = request.parameters
    keys = {**given}
    for entry in parameters.get("ContextEntries") or []:
        keys[str(entry["ContextKeyName"]).lower()] = [str(one) for one in entry.get("ContextKeyValues") or []]
    if limits := parameters.get("PermissionsBoundaryPolicyInputList"):
        caller = Caller(caller.account, caller.arn, caller.role_arn, caller.policies, [str(one) for one in limits])
    resources = [str(one) for one in parameters.get("ResourceArns") or ["*"]]
    own = str(parameters.get("ResourcePolicy") or "")
    results: list[dict[str, Any]] = []
    for action in parameters["ActionNames"]:
        found = []
        for resource in resources:
            policy = ResourcePolicy(own, str(parameters.get("ResourceOwner") or caller.account)) if own else None
            decision = decide(caller, str(action), resource, lambda key: keys.get(key.lower()), policy)
            found.append(_result(str(action), resource, decision, _missing(caller, str(action), resource, keys)))
        results += one_result_an_action(found, given=bool(parameters.get("ResourceArns")))
    return {"EvaluationResults": results, "IsTruncated": False}


STRICTEST = ("explicitDeny", "implicitDeny", "allowed")


@behaviour("iam", otherwise=lambda found, given: found)
def one_result_an_action(found: list[dict[str, Any]], given: bool) -> list[dict[str, Any]]:
    """A simulation has one result for each action, the strictest of its resources', with those of each inside.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html (Important, ResourceSpecificResults)
    """
    strictest = min(found, key=lambda one: STRICTEST.index(one["EvalDecision"]))
    if not given:
        return [strictest]
    each = [
        {
            "EvalResourceName": one["EvalResourceName"],
            "EvalResourceDecision": one["EvalDecision"],
            **{
                name: one[name]
                for name in ("MatchedStatements", "MissingContextValues", "PermissionsBoundaryDecisionDetail")
                if name in one
            },
        }
        for one in found
    ]
    return [{**strictest, "ResourceSpecificResults": each}]


def _result(action: str, resource: str, decision: Decision, missing: list[str]) -> dict[str, Any]:
    known = reference.action(action)
    result: dict[str, Any] = {
        "EvalActionName": known.name if known else action,
        "EvalResourceName": resource,
        "EvalDecision": decision.kind,
        "MatchedStatements": [
            {"SourcePolicyId": f"PolicyInputList.{number}", "SourcePolicyType": "IAM Policy"}
            for number, _ in enumerate(decision.statements, 1)
        ],
        "MissingContextValues": missing,
    }
    if decision.by == "permissions boundary":
        result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": False}
    return result


@behaviour("iam", otherwise=lambda *_: [])
def _missing_context_values(
    documents: Iterable[str], action: str, resource: str, keys: dict[str, Sequence[str]]
) -> list[str]:
    """A simulation names the condition keys and variables of matching statements that it was given no value for.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html (MissingContextValues)
    """
    missing: dict[str, None] = {}
    for document in documents:
        for statement in statements(document):
            if not statement.names(action, resource, lambda key: ["*"]):
                continue
            wanted = [condition.key for condition in statement.conditions]
            texts = [value for condition in statement.conditions for value in condition.values]
            texts += [*(statement.resources or ()), *(statement.not_resources or ())]
            wanted += [found[1].partition(",")[0].strip() for text in texts for found in VARIABLE.finditer(text)]
            missing |= {key: None for key in wanted if key.lower() not in keys and key not in ("*", "?", "$")}
    return list(missing)


def _missing(caller: Caller, action: str, resource: str, keys: dict[str, Sequence[str]]) -> list[str]:
    return _missing_context_values([*(caller.policies or ()), *(caller.boundary or ())], action, resource, keys)
