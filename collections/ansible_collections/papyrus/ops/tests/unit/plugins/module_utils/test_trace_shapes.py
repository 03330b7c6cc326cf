# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shapes of parameters and answers: whatever the data, only names, types and words of AWS' models come out (L3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._trace_shapes import code, merged, shape_of, word
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_aws import SESSION

SHAPES = [
    ("ecs", "RunTask", "input_shape"), ("ecs", "DescribeTasks", "output_shape"), ("elbv2", "CreateRule", "input_shape"),
    ("elbv2", "DescribeTargetHealth", "output_shape"), ("ec2", "DescribeNetworkInterfaces", "input_shape"),
    ("ec2", "DescribeNetworkInterfaces", "output_shape"), ("rds", "DescribeDBInstances", "output_shape"),
    ("secretsmanager", "GetSecretValue", "output_shape"), ("s3", "PutObject", "input_shape"),
    ("kms", "Sign", "output_shape"), ("logs", "FilterLogEvents", "output_shape"),
]  # fmt: skip
MARK = "zq9"
TYPES = frozenset(
    {"string", "integer", "long", "double", "float", "boolean", "blob", "timestamp", "document", "nothing"}
)
# Whatever a customer may have put somewhere: each has the mark, and forms that AWS' own words and names have.
TEXTS = st.sampled_from(
    ["{}", "arn:aws:iam::123456789012:role/{}", "{}.corp.example.com", "RUN-{}", "Elb.{}", "10.1.2.3/{}"]
)
VALUES = st.builds(lambda form, number: form.format(f"{MARK}{number}"), TEXTS, st.integers(0, 9))


def model(service: str, operation: str, which: str) -> Any:
    return getattr(SESSION.get_service_model(service).operation_model(operation), which)


def data(shape: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Data of a shape whose every text has the mark, keys of maps too; now and then a word of the model."""
    kind = shape.type_name
    if kind == "structure":
        if depth > 4:
            return st.just({})
        members = {name: data(member, depth + 1) for name, member in shape.members.items()}
        return st.fixed_dictionaries({}, optional=members)
    if kind == "list":
        return st.lists(data(shape.member, depth + 1), max_size=2)
    if kind == "map":
        return st.dictionaries(VALUES, data(shape.value, depth + 1), max_size=2)
    if kind == "string":
        return st.one_of(VALUES, st.sampled_from(shape.enum)) if getattr(shape, "enum", None) else VALUES
    return st.sampled_from([987654321, True, 0.987654321]) if kind != "blob" else st.just(MARK.encode())


def words(shape: Any) -> Iterator[str]:
    """Every name and every leaf of what is told."""
    if isinstance(shape, dict):
        for name, value in shape.items():
            yield name.rstrip("?")
            yield from words(value)
    elif isinstance(shape, list):
        for item in shape:
            yield from words(item)
    else:
        yield str(shape)


def known(shape: Any, seen: set[str], depth: int = 0) -> set[str]:
    """Names of members and enumerated words of a shape and of all below it."""
    if shape is None or depth > 7:
        return seen
    if shape.type_name == "structure":
        seen |= set(shape.members)
        for member in shape.members.values():
            known(member, seen, depth + 1)
    elif shape.type_name in ("list", "map"):
        known(shape.member if shape.type_name == "list" else shape.value, seen, depth + 1)
    elif shape.type_name == "string":
        seen |= set(getattr(shape, "enum", None) or ())
    return seen


@pytest.mark.parametrize(("service", "operation", "which"), SHAPES)
def test_L3_whatever_the_data_only_the_models_words_come_out(service: str, operation: str, which: str) -> None:
    shape = model(service, operation, which)
    allowed = known(shape, {"{}", "other", "empty", "*"})

    @settings(max_examples=10, deadline=None)
    @given(data(shape))
    def holds(value: Any) -> None:
        told = shape_of(value, shape, service)
        assert MARK not in json.dumps(told) and "987654321" not in json.dumps(told)
        for each in words(told):
            kind, _equals, said = each.partition("=")
            assert each in allowed or kind in TYPES, each
            assert not said or set(said.split("|")) <= allowed, each

    holds()


def test_L3_filters_are_told_by_ec2s_names_alone() -> None:
    shape = model("ec2", "DescribeNetworkInterfaces", "input_shape")
    filters = [{"Name": "group-id", "Values": ["sg-1"]}, {"Name": "tag:acme:owner", "Values": ["x"]}]
    told = [shape_of({"Filters": [one]}, shape, "ec2")["Filters"] for one in filters]
    assert told == [[{"Name": "string=group-id", "Values": ["string"]}], [{"Name": "string", "Values": ["string"]}]]


def test_L3_a_region_is_not_told_though_the_model_lists_it() -> None:
    shape = model("s3", "CreateBucket", "input_shape")
    where = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    assert shape_of(where, shape, "s3") == {"CreateBucketConfiguration": {"LocationConstraint": "string"}}


@pytest.mark.parametrize(
    ("given", "told"),
    [("RUNNING", "RUNNING"), ("in-use", "in-use"), ("Target.Timeout", "Target.Timeout"), ("", "empty"),
     ("db.corp.example.com", "other"), ("123456789012", "other"), ("a b", "other"), ("x" * 65, "other"),
     ("10.0.0.1", "other"), ("RUNNING\n", "other")],
)  # fmt: skip
def test_L3_a_state_is_a_word(given: str, told: str) -> None:
    assert word(given) == told


@pytest.mark.parametrize(
    ("given", "told"),
    [("InvalidGroup.NotFound", "InvalidGroup.NotFound"), ("404", "404"), (None, ""), ("AccessDenied", "AccessDenied"),
     ("123456789012", "other"), ("no.such.host", "other"), ("arn:aws:iam::1:role/x", "other")],
)  # fmt: skip
def test_L3_an_error_is_a_code(given: Any, told: str) -> None:
    assert code(given) == told


def test_L3_what_only_some_have_is_optional_and_words_are_listed() -> None:
    one, other = {"a": "string=A", "b": ["string"]}, {"a": "string=B", "c?": "integer", "b": []}
    assert merged(one, other) == {"a": "string=A|B", "b": ["string"], "c?": "integer"}
    assert merged(merged(one, other), {"a": "string"}) == {"a": "string=*|A|B", "b?": ["string"], "c?": "integer"}
