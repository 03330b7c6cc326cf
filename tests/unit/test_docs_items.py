"""J1: the list of items in docs/evidence/items.md is complete, and names nothing that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
PAGE = CHECKOUT / "docs" / "evidence" / "items.md"
NAME = re.compile(r"[A-Za-z0-9_<>.]+\.(?:jsonl\.gz|json|jsonl|log|cast|tsr|tfstate)")

NO_ITEMS = {
    # parts of the bundle that are no items
    "manifest.jsonl", "attestation.dsse.json",
    # private files of a run, a guard, Terraform, an export, and files of others
    "MANIFEST.json", "apply.log", "backend.tf.json", "config.json", "crash.log", "destroy.log", "direct_url.json",
    "guard.json", "plan.log", "routes.json", "run.auto.tfvars.json", "run_backend_override.tf.json", "stack.json",
    "stack.auto.tfvars.json", "terraform.json", "provider.log", "trace.jsonl", ".journal.jsonl", ".request.json",
    # shapes of names, each of which is listed by what it becomes
    ".<>.json", "<>.<>.json", "<>.log", "<>.jsonl.gz", "<>.<>.jsonl.gz", "<>_<>.jsonl.gz", "<>_<>.<>.jsonl.gz",
    "<>_env.log", "_env.log", "alarm_<>.json",
}  # fmt: skip

BY_INVENTORY = {"healthz.log", "dbcheck.log", "no_header.log", "papyrus_psql_insert_app.log"}
"""Names that an inventory gives; the role makes them of its probes."""


def documentation(tree: ast.Module) -> set[int]:
    """Constants that are a module's documentation."""
    words = ("DOCUMENTATION", "EXAMPLES", "RETURN")
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in words
    }


def in_python(text: str) -> Iterator[str]:
    """Texts that are file names; what is put in stands as <>."""
    tree = ast.parse(text)
    aside = documentation(tree)
    for node in ast.walk(tree):
        said = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in aside:
            said = node.value
        elif isinstance(node, ast.JoinedStr):
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else "<>" for part in node.values)
        if NAME.fullmatch(said):
            yield said


def in_role(text: str) -> Iterator[str]:
    """Names of items in the tasks of a role."""
    yield from re.findall(r"\bname['\"]?: ['\"]?([a-z0-9_]+\.(?:jsonl|json|log|cast))\b", text)
    yield from re.findall(r"\bschema_item: ([a-z_]+\.log)\b", text)


@cache
def made() -> set[str]:
    found = {name for path in (COLLECTION / "plugins").rglob("*.py") for name in in_python(path.read_text("utf-8"))}
    tasks = [path for part in ("tasks", "defaults") for path in (COLLECTION / "roles").glob(f"*/{part}/*.yml")]
    return found | {name for path in tasks for name in in_role(path.read_text("utf-8"))}


def listed() -> set[str]:
    rows = [line.split("|")[1] for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_J1_every_item_that_the_code_can_leave_is_in_the_list() -> None:
    assert len(made()) > 60
    assert made() - NO_ITEMS - listed() == set()


def test_J1_the_list_names_nothing_that_there_is_not() -> None:
    exports = {name for name in listed() if name.endswith(".jsonl.gz")} | {"alarm_<kind>.json"}
    assert listed() - made() - BY_INVENTORY - exports == set()
    text = "".join(path.read_text("utf-8") for path in (COLLECTION / "roles" / "audit" / "tasks").glob("*.yml"))
    for name in exports - {"alarm_<kind>.json"}:
        assert f"name='{name.partition('<')[0].rstrip('.')}'" in text, name


def test_J1_nothing_is_put_aside_that_there_is_no_more() -> None:
    assert NO_ITEMS - made() == set()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("append('new_item.json', {})", ["new_item.json"]),
        ("keep(f'{kind}_new.log')", ["<>_new.log", "_new.log"]),
        ("EXAMPLES = 'sample.json'", []),
        ("open('a/b.json')", []),
    ],
)
def test_J1_names_are_found_in_code(text: str, names: list[str]) -> None:
    assert list(in_python(text)) == names
