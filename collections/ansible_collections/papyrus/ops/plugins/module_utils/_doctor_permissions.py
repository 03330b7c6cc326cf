# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Doctor's rows about permissions: what IAM's policy simulation says of a principal, playbook by playbook.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import _aws, _doctor_needs
from ._doctor_needs import Need, Question
from ._doctor_settings import denied, mend, statement, told, warn
from ._doctor_values import definition, values
from ._doctor_values import who as caller_of_sts
from ._preflight import Ask, Check, Finding, ok, skip
from ._rows import listing

NO_POLICY = "no policy allows it"
SCP = "an SCP of the organization refuses it"
BOUNDARY = "the permissions boundary refuses it"
UNCERTAIN = "it depends on condition keys that only the real call has"
ONE_LINE = 300
"""Characters of a statement that still fit into the table; the report has all of them."""

Given = dict[tuple[str, str], "Answer"]


@dataclass(frozen=True)
class Answer:
    """What the simulation says of one action on one resource; `why` is empty when it is allowed."""

    allowed: bool
    why: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Principal:
    """Whose policies are simulated: nobody's where `arn` is empty; `note` says why, or what is assumed."""

    arn: str
    kind: str
    note: str = ""


def caller(ask: Ask) -> Principal:
    return ask.fact("principal", _caller)


def _caller(ask: Ask) -> Principal:
    return principal_of(caller_of_sts(ask).arn, lambda role: _role_arn(ask, role))


def principal_of(arn: str, role_arn: Callable[[str], str]) -> Principal:
    """The user or role behind the ARN that STS names. `role_arn` finds a role's ARN, which has its path, by its name.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
    """
    dummy, partition, service, dummy, account, rest = arn.split(":", 5)
    kind, dummy, name = rest.partition("/")
    if kind == "root":
        return Principal("", "root", "root has every permission, and none of its own to simulate")
    if service == "iam" and kind == "user":
        return Principal(arn, "user")
    if kind == "assumed-role":
        role = name.partition("/")[0]
        found = role_arn(role)
        if found:
            return Principal(found, "role")
        note = f"iam:GetRole is not allowed: taken for arn:{partition}:iam::{account}:role/{role}, without a path"
        return Principal(f"arn:{partition}:iam::{account}:role/{role}", "role", note)
    return Principal("", kind, f"a {kind} has no policies that can be simulated")


def _role_arn(ask: Ask, name: str) -> str:
    try:
        return str(ask.calls.call("iam", "get_role", f"role {name}", RoleName=name)["Role"]["Arn"])
    except _aws.AwsFailure as exc:
        if denied(exc):
            return ""
        raise


def simulate(ask: Ask, arn: str, question: Question) -> Given:
    """The answers of one simulation, all pages of it."""
    given: Given = {}
    for page in ask.calls.pages(
        "iam",
        "simulate_principal_policy",
        f"{arn} for {question.resource}",
        token="Marker",
        PolicySourceArn=arn,
        ActionNames=list(question.actions),
        ResourceArns=[question.resource],
        ContextEntries=[
            {
                "ContextKeyName": key,
                "ContextKeyValues": list(texts),
                "ContextKeyType": "stringList" if key in ("aws:TagKeys", "elasticloadbalancing:Subnet") else "string",
            }
            for key, texts in question.context
        ],
    ):
        for result in page.get("EvaluationResults", []):
            given[(str(result["EvalActionName"]).lower(), question.resource)] = read(result)
    return given


def read(result: Mapping[str, Any]) -> Answer:
    """One EvaluationResult. AWS has one for each action, and inside it those of each resource (here: one); pure.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html
    """
    each = [result, *result.get("ResourceSpecificResults", [])]
    decision = str(each[-1].get("EvalResourceDecision") or result.get("EvalDecision"))
    if decision == "allowed":
        return Answer(True)
    missing = tuple(dict.fromkeys(str(key) for one in each for key in one.get("MissingContextValues") or []))
    if _says_no(each, "OrganizationsDecisionDetail", "AllowedByOrganizations"):
        return Answer(False, SCP)
    if _says_no(each, "PermissionsBoundaryDecisionDetail", "AllowedByPermissionsBoundary"):
        return Answer(False, BOUNDARY)
    if decision == "explicitDeny":
        policies = {
            str(found.get("SourcePolicyId"))
            for one in each
            for found in one.get("MatchedStatements") or []
            if found.get("SourcePolicyId")
        }
        return Answer(False, f"a Deny of {listing(sorted(policies)) or 'a policy'} refuses it")
    return Answer(False, UNCERTAIN if missing else NO_POLICY, missing)


def _says_no(each: Iterable[Mapping[str, Any]], detail: str, name: str) -> bool:
    return any((one.get(detail) or {}).get(name) is False for one in each)


def questions(
    needs: Sequence[Need], known: Mapping[str, str], groups: Sequence[str] = ()
) -> dict[Need, list[Question]]:
    """What each need is asked as; an empty list where the inventory leaves its resource open."""
    found: dict[Need, list[Question]] = {}
    for need in needs:
        each = [{**known, "audit_log_group": group} for group in groups] if need.resource == "audited log" else [known]
        asked = (_doctor_needs.question_of(need, one) for one in each)
        found[need] = [one for one in asked if one is not None]
    return found


def answers(ask: Ask, principal: str, asked: Sequence[Question], start: int = 0) -> Given:
    """What the principal may, each question asked once by whoever comes first.

    Rows that run side by side begin at another place of the list each, so that they ask and do not wait.
    """
    given: Given = {}
    for one in [*asked[start:], *asked[:start]]:
        name = f"simulated {principal} {one.resource} {one.context}"
        given.update(ask.fact(name, partial(_simulated, principal, one)))
    return given


def _simulated(principal: str, question: Question, ask: Ask) -> Given:
    return simulate(ask, principal, question)


def playbook(name: str, ask: Ask) -> Finding:
    """Whether the caller may do all that a playbook does."""
    settings, known = told(ask), values(ask)
    who = caller(ask)
    must = name in settings.must
    if not who.arn:
        do = "run as a role with the policies of infra/iam; doctor then says what it may"
        return warn(who.note, do, principal=who.kind)
    groups = settings.audit_log_groups or tuple(filter(None, [known.fields["log_group"]]))
    needs = {
        other: questions(_doctor_needs.of(other, drills=settings.drills), known.fields, groups)
        for other in _doctor_needs.PLAYBOOKS
    }
    asked = _doctor_needs.together([one for each in needs.values() for many in each.values() for one in many])
    mine = _doctor_needs.together([one for many in needs[name].values() for one in many])
    wanted = [one for one in asked if (one.resource, one.context) in {(own.resource, own.context) for own in mine}]
    start = _doctor_needs.PLAYBOOKS.index(name) * len(wanted) // len(_doctor_needs.PLAYBOOKS)
    try:
        given = answers(ask, who.arn, wanted, start)
    except _aws.AwsFailure as exc:
        return unasked(exc, who)
    return judge(name, must, needs[name], given, known.inexact, who)


def unasked(exc: _aws.AwsFailure, who: Principal) -> Finding:
    """A simulation that AWS refused, or could not make for a role whose path is not known: never OK."""
    if denied(exc):
        allow = statement(["iam:SimulatePrincipalPolicy", "iam:GetRole"], [who.arn])
        return warn(f"not known: iam:SimulatePrincipalPolicy is not allowed ({exc.code})", f"add {allow}")
    if exc.missing and who.note:
        return warn(f"not known: {who.note}; there is none", f"add {statement(['iam:GetRole'], [who.arn])}")
    raise exc


def judge(
    name: str,
    must: bool,
    needs: Mapping[Need, Sequence[Question]],
    given: Given,
    inexact: frozenset[str],
    who: Principal,
) -> Finding:
    """NG when something is refused that a playbook of `must` always needs, WARN for all other doubts; pure."""
    refused: dict[str, list[tuple[str, str]]] = {}
    doubts: dict[str, list[tuple[str, str]]] = {}
    allowed = 0
    for need, many in needs.items():
        for one in many:
            answer = given.get((need.action.lower(), one.resource))
            if answer is None:
                doubts.setdefault("the simulation says nothing of it", []).append((need.action, one.resource))
            elif answer.allowed:
                allowed += 1
            elif need.action in _doctor_needs.SOMETIMES:
                why = f"{answer.why}; {_doctor_needs.SOMETIMES[need.action]}"
                doubts.setdefault(why, []).append((need.action, one.resource))
            elif answer.missing or (one.resource in inexact and answer.why == NO_POLICY):
                more = f" ({listing(answer.missing)})" if answer.missing else ", or on the end of a secret's name"
                doubts.setdefault(UNCERTAIN + more, []).append((need.action, one.resource))
            else:
                refused.setdefault(answer.why, []).append((need.action, one.resource))
    left_out = sorted({need.action for need, many in needs.items() if not many})
    statements = [json.loads(text) for text in statements_for(refused.get(NO_POLICY, []))]
    data = {
        "principal": who.arn,
        "allowed": allowed,
        "refused": refused,
        "doubts": doubts,
        "not_asked": left_out,
        "statements": statements,
    }
    note = f"; {who.note}" if who.note else ""
    if left_out:
        note += f"; {len(left_out)} not asked, as the inventory leaves open what they are about"
    if not refused and not doubts:
        return ok(f"{allowed} permissions of {who.arn}{note}", **data)
    total = allowed + sum(map(len, [*refused.values(), *doubts.values()]))
    text = "; ".join(_told(why, pairs) for why, pairs in [*refused.items(), *doubts.items()])
    text = f"{total - allowed} of {total} not allowed: {text}{note}"
    if must and refused:
        return mend(text, todo(name, refused, statements), **data)
    return warn(text, todo(name, refused, statements), **data)


def _told(why: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{listing(dict.fromkeys(action for action, dummy in pairs))} ({why})"


def statements_for(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Statements that allow these actions, one for each set of actions, with every resource of it; pure."""
    by_resource: dict[str, list[str]] = {}
    for action, resource in pairs:
        by_resource.setdefault(resource, []).append(action)
    by_actions: dict[tuple[str, ...], list[str]] = {}
    for resource, actions in by_resource.items():
        by_actions.setdefault(tuple(sorted(set(actions))), []).append(resource)
    return [statement(actions, resources) for actions, resources in by_actions.items()]


def todo(name: str, refused: Mapping[str, Sequence[tuple[str, str]]], statements: Sequence[Mapping[str, Any]]) -> str:
    """What to do about refusals, short enough for a table."""
    parts = []
    if statements:
        short = json.dumps(statements[0], separators=(",", ":"))
        shown = short if len(statements) == 1 and len(short) <= ONE_LINE else "the statements in the report"
        parts.append(f"attach the policies that infra/iam has for {name}.yml, or add {shown}")
    if others := [why for why in refused if why != NO_POLICY]:
        parts.append(f"have it let through where {listing(others)}")
    return "; ".join(parts) or "nothing, if the conditions are those of infra/iam; see the report for the keys"


def role_of_tasks(kind: str, ask: Ask) -> Finding:
    """What the task role needs for ECS Exec, or the execution role to start a task."""
    known = values(ask)
    field, title = {
        _doctor_needs.TASK: ("task_role", "task role"),
        _doctor_needs.EXECUTION: ("execution_role", "execution role"),
    }[kind]
    if kind == _doctor_needs.TASK and not ask.settings.exec_required:
        return skip("no path of this run uses Exec")
    definition(ask)  # its failure is this row's as well
    arn = known.fields[field]
    if not arn:
        return mend(f"the task definition has no {title}", f"release a revision with a {title} (infra/15-ecs has one)")
    needs = questions(_doctor_needs.of(kind), known.fields)
    who = Principal(arn, title)
    try:
        given = answers(ask, arn, _doctor_needs.together([one for many in needs.values() for one in many]))
    except _aws.AwsFailure as exc:
        return unasked(exc, who)
    return judge(title, True, needs, given, known.inexact, who)


CHECKS = tuple(Check(name, f"May run {name}.yml", partial(playbook, name)) for name in _doctor_needs.PLAYBOOKS)
TASK_CHECKS = (
    Check("task_role", "Task role lets ECS Exec in", partial(role_of_tasks, _doctor_needs.TASK)),
    Check("execution_role", "Execution role can start a task", partial(role_of_tasks, _doctor_needs.EXECUTION)),
)
