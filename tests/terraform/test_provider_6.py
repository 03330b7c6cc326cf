"""Every argument of every stack is one that provider 6.25 has, too (the local AWS runs 3.39 only)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terraform import stacks
from tests.terraform.hcl import Block, parse

KNOWN: dict[str, Any] = json.loads(Path(__file__).with_name("provider-aws-6.25.json").read_text("utf-8"))["names"]
# Written in any block: https://developer.hashicorp.com/terraform/language/meta-arguments
META_ARGUMENTS = {"count", "for_each", "depends_on", "provider"}
META_BLOCKS = {"lifecycle", "timeouts"}


def faults(block: Block, known: dict[str, Any], where: str) -> Iterator[str]:
    """What provider 6.25 would not understand or would miss in one block, with where it is."""
    given = set(block.attributes)
    for name in block.attributes:
        if name not in known and name not in META_ARGUMENTS:
            yield f"{where}.{name} is unknown"
    for inner in block.blocks:
        dynamic = inner.type == "dynamic"
        name = inner.labels[0] if dynamic else inner.type
        given.add(name)
        if name in META_BLOCKS:
            continue
        if "block" not in known.get(name, {}):
            yield f"{where}.{name} is no block"
            continue
        content = next(deeper for deeper in inner.blocks if deeper.type == "content") if dynamic else inner
        yield from faults(content, known[name]["block"], f"{where}.{name}")
    for name, argument in known.items():
        if argument.get("required") and name not in given:
            yield f"{where}.{name} is missing"


def faults_of(block: Block) -> list[str]:
    """Of a resource or data block."""
    kind = f"{block.type} {block.labels[0]}"
    if kind not in KNOWN:
        return [f"{kind} is not in provider-aws-6.25.json; make it anew with make_provider_names.py"]
    return list(faults(block, KNOWN[kind], " ".join([kind, *block.labels[1:]])))


@pytest.mark.parametrize("stack", stacks.NAMES)
def test_h1_stack_uses_only_arguments_that_provider_6_has(stack: str) -> None:
    blocks = list(stacks.resources(stack))
    assert blocks, f"{stack} has no resources"
    assert [fault for block in blocks for fault in faults_of(block)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('resource "aws_lb" "x" {\n  nmae = "a"\n}', "resource aws_lb x.nmae is unknown"),
        ('resource "aws_db_instance" "x" {\n  instance_class = "a"\n  name = "old"\n}', "name is unknown"),
        ('resource "aws_db_instance" "x" {\n}', "instance_class is missing"),
        ('resource "aws_lb" "x" {\n  dynamic "access_logs" {\n    content {\n  buket = "a"\n  }\n  }\n}', "buket"),
        ('resource "aws_vpc_of_old" "x" {\n}', "make_provider_names.py"),
    ],
)
def test_faults_are_found(text: str, expected: str) -> None:
    (block,) = parse(text).blocks
    assert any(expected in fault for fault in faults_of(block))


def test_reader_sees_blocks_behind_strings_comments_and_brackets() -> None:
    text = """
    # comment with } and "quote
    resource "aws_x" "y" {
      a = "v ${f("}")} { \\" #"  // }
      b = [for x in y : { z = x }]
      c {
        d = { e = 1
              f = 2 }
      }
      g = 1
    }
    """
    (block,) = parse(text).blocks
    assert (block.labels, block.attributes) == (["aws_x", "y"], ["a", "b", "g"])
    assert [(inner.type, inner.attributes) for inner in block.blocks] == [("c", ["d"])]
