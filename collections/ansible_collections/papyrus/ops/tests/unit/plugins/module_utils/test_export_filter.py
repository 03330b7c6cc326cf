# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the derivative of an export has: by rules that people understand, and the same that jq selects (K1)."""

from __future__ import annotations

import json
from typing import Any

import jq
import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._cloudtrail_source import cloudtrail_filter
from ansible_collections.papyrus.ops.plugins.module_utils._export import ExportRefused
from ansible_collections.papyrus.ops.tests.unit.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

TASK = "arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7"
RECORD: dict[str, Any] = {
    "eventSource": "ecs.amazonaws.com",
    "eventName": "UpdateService",
    "userIdentity": {
        "type": "AssumedRole",
        "principalId": "AROAEXAMPLE:release-17",
        "arn": "arn:aws:sts::123456789012:assumed-role/papyrus-release/release-17",
        "sessionContext": {"sessionIssuer": {"userName": "papyrus-release"}},
    },
    "requestParameters": {"cluster": "papyrus-ecs-prd", "taskDefinition": TASK, "count": 7},
    "responseElements": {"service": {"tags": [{"key": "owner", "value": "blue team"}]}},
    "resources": [{"ARN": "arn:aws:s3:::papyrus-evidence"}],
    "additionalEventData": {"note": "Papyrus says 100 %"},
}
WRAPPER = {
    "malformed": True,
    "entry": {
        "EventSource": "ecs.amazonaws.com",
        "Username": "release-17",
        "Resources": [{"ResourceType": "AWS::ECS::Service", "ResourceName": "papyrus-task-service"}],
        "CloudTrailEvent": "no json at all",
    },
}


def matches(record: Any, **rules: Any) -> bool:
    """Here, and by jq."""
    rule = cloudtrail_filter("papyrus", **rules)
    found = rule.matches(json.dumps(record).encode())
    assert bool(jq.compile(rule.jq).input_text(json.dumps(record)).all()) == found
    return found


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"sources": ["ecs"]}, True),
        ({"sources": ["ecs.amazonaws.com"]}, True),
        ({"sources": ["ecs.amazonaws"]}, True),
        ({"sources": ["ec"]}, False),
        ({"sources": ["ECS"]}, False),
        ({"sources": ["ec2", "ecs"]}, True),
        ({"users": ["papyrus-release"]}, True),
        ({"users": ["release-17"]}, True),
        ({"users": ["AROAEXAMPLE"]}, True),
        ({"users": ["arn:aws:sts::123456789012:assumed-role/papyrus-release/release-17"]}, True),
        ({"users": ["assumed-role/papyrus-release"]}, True),
        ({"users": ["papyrus"]}, False),
        ({"users": ["papyrus-ecs-prd"]}, False),
        ({"resource_names": ["papyrus-ecs-prd"]}, True),
        ({"resource_names": ["papyrus-task"]}, True),
        ({"resource_names": ["papyrus-task:7"]}, True),
        ({"resource_names": [TASK]}, True),
        ({"resource_names": ["papyrus-evidence"]}, True),
        ({"resource_names": ["papyrus"]}, False),
        ({"resource_names": ["papyrus-tas"]}, False),
        ({"resource_names": ["release-17"]}, False),
        ({"text": ["Papyrus says"]}, True),
        ({"text": ["papyrus says"]}, False),
        ({"text": ["additionalEventData"]}, False),
        ({"text": ["blue"]}, True),
        ({"sources": ["ecs"], "users": ["papyrus-release"], "text": ["blue"]}, True),
        ({"sources": ["ecs"], "users": ["somebody"], "text": ["blue"]}, False),
        ({"sources": ["s3"], "users": ["papyrus-release"]}, False),
    ],
)
def test_K1_values_of_one_condition_are_or_and_conditions_are_and(rules: dict[str, list[str]], expected: bool) -> None:
    assert matches(RECORD, **rules) is expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"sources": ["ecs"]}, True),
        ({"users": ["release-17"]}, True),
        ({"resource_names": ["papyrus-task-service"]}, True),
        ({"text": ["no json"]}, True),
        ({"sources": ["s3"]}, False),
        ({"users": ["somebody"]}, False),
    ],
)
def test_K1_a_malformed_record_is_judged_by_what_the_history_says_of_it(
    rules: dict[str, list[str]], expected: bool
) -> None:
    assert matches(WRAPPER, **rules) is expected


def test_K1_records_of_any_shape_are_no_error() -> None:
    for record in (
        {},
        {"eventSource": None, "userIdentity": "root", "requestParameters": [TASK], "resources": {}, "entry": 3},
        {"eventSource": ["ecs"], "userIdentity": [["root"]], "entry": {"EventSource": 1, "Username": {"a": "root"}}},
        {"entry": ["x"], "requestParameters": None},
    ):
        for rules in (
            {"sources": ["ecs"]},
            {"users": ["root"]},
            {"resource_names": ["papyrus-task"]},
            {"text": ["root"]},
        ):
            matches(record, **rules)


@pytest.mark.parametrize(
    "value", ["it's", 'a "b"', "back\\slash", "\\(1)", "$name", "ä 漢 🙂", "a/b:c", "\t", "/", ":"]
)
def test_K1_every_value_is_text_and_no_program(value: str) -> None:
    record = {"requestParameters": {"name": value}, "userIdentity": {"arn": value}, "eventSource": value}
    assert matches(record, resource_names=[value], users=[value], sources=[value], text=[value])
    assert not matches(record, text=[f"{value}x"])
    assert "'" not in cloudtrail_filter("papyrus", text=[value]).jq  # it stands in quotes of a shell


def test_K1_a_filter_that_would_select_everything_is_refused() -> None:
    for rules in ({}, {"text": []}, {"text": [""]}, {"users": ["a", ""]}):
        with pytest.raises(ExportRefused, match="would select everything"):
            cloudtrail_filter("papyrus", **rules)


WORDS = st.text("ab:/.é\"\\'", max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("eventSource", "userIdentity", "requestParameters", "responseElements", "resources", "entry", "other")
RECORDS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5)
ENTRIES = st.fixed_dictionaries({"EventSource": WORDS, "Username": WORDS, "Resources": VALUES})
NAMES = st.lists(WORDS.filter(bool), max_size=3)
RULES = st.fixed_dictionaries({"resource_names": NAMES, "users": NAMES, "sources": NAMES, "text": NAMES}).filter(
    lambda rules: any(rules.values())
)


@settings(max_examples=examples(150), deadline=None)
@given(
    RULES, st.lists(RECORDS | ENTRIES.map(lambda entry: {"malformed": True, "entry": entry}), min_size=1, max_size=8)
)
def test_K1_jq_selects_the_same_lines(rules: dict[str, list[str]], records: list[dict[str, Any]]) -> None:
    rule = cloudtrail_filter("papyrus", **rules)
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    selected = [json.loads(line) for line in lines if rule.matches(line.encode())]
    assert jq.compile(rule.jq).input_text("\n".join(lines)).all() == selected
