"""docs/aws-assumptions.md names files that are there, and every word of AWS that the code looks for (L3)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session

CHECKOUT = Path(__file__).resolve().parents[2]
UTILS = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops" / "plugins" / "module_utils"
PAGE = CHECKOUT / "docs" / "aws-assumptions.md"
SERVICES = ("cloudtrail", "cloudwatch", "config", "ec2", "ecr", "ecs", "elbv2", "events", "iam", "kms", "logs", "rds",
            "s3", "secretsmanager", "sns", "sqs", "sts")  # fmt: skip
# States that ECS' model has as mere strings (documented: task lifecycle), and RDS' of an instance and its parameters.
STRINGS = {
    "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED",
    "ACTIVE", "INACTIVE", "DRAINING", "PRIMARY", "DELETED", "available", "in-sync", "pending-reboot",
}  # fmt: skip
LOWER = {"elbv2": ("TargetHealthStateEnum", "LoadBalancerStateEnum"), "ec2": ("NetworkInterfaceStatus", "RouteState")}
CODE = re.compile(r"[A-Z][A-Za-z]+(?:\.[A-Z][A-Za-z]+)*")
ENDS = ("NotFound", "Exception", "Fault", "Error", "InUse", "Violation", "Denied", "Expired", "ExpiredToken",
        "Exceeded", "Throttling", "Throttled", "Timeout", "NotPermitted", "DoesNotExist", "NotComplete",
        "InvalidNextToken", "NoSuchKey", "NoSuchBucket", "NoSuchEntity")  # fmt: skip
# Files and single words that speak SQL, HTTP, verdicts or of a class here, not of AWS.
NOT_AWS = {"_sql_script.py", "_probe_request.py", "_verify_text.py", "_junit.py", "_verdict.py", "_run_end.py",
           "_report_summary.py", "_trace_terraform.py", "_trace_shapes.py", "_trace.py", "_trace_file.py",
           "_monitor.py", "_answers.py"}  # fmt: skip
NO_WORDS = {("FAILED", "_verify_online.py"), ("ROLLBACK", "_rollout.py"), ("Error", "_rollout_watch.py")}


@cache
def aws_words() -> frozenset[str]:
    """Enumerated words in capitals or with a dot, states in small letters, and exceptions of the models in use."""
    found, session = set(STRINGS), botocore.session.get_session()
    for service in SERVICES:
        model = session.get_service_model(service)
        for name in model.shape_names:
            shape = model.shape_for(name)
            listed = set(getattr(shape, "enum", None) or ())
            small = name in LOWER.get(service, ())
            found |= {word for word in listed if small or (word.isupper() and len(word) > 3) or "." in word}
            if shape.type_name == "structure" and shape.metadata.get("exception"):
                found |= {name, str(shape.metadata.get("error", {}).get("code", name))}
    return frozenset(found)


def compared(tree: ast.AST) -> Iterator[str]:
    """Texts in comparisons, in constants of a module, in the heads and tails that are asked for."""
    for node in ast.walk(tree):
        whole: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            whole = [node]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            whole = [node.value] if all(isinstance(each, ast.Name) and each.id.isupper() for each in targets) else []
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("startswith", "endswith"):
            whole = list(node.args)
        for part in whole:
            yield from (
                each.value for each in ast.walk(part) if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


@cache
def words_of(path: Path) -> set[str]:
    """AWS' words with which a file of the collection compares."""
    texts = set(compared(ast.parse(path.read_text("utf-8"))))
    coded = {text for text in texts if CODE.fullmatch(text) and text.endswith(ENDS)}
    return {text for text in coded | (texts & aws_words()) if (text, path.name) not in NO_WORDS}


@cache
def rows() -> list[list[str]]:
    """Cells of every row of every table, with its head."""
    found: list[list[str]] = []
    head: list[str] = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            head = []
        elif not head:
            head = cells
        elif not set("".join(cells)) <= {"-"}:
            found.append([*head, *cells])
    return found


def column(name: str) -> list[str]:
    """What stands under a head, of all tables that have it."""
    return [row[len(row) // 2 + row[: len(row) // 2].index(name)] for row in rows() if name in row[: len(row) // 2]]


def test_L3_every_row_is_complete() -> None:
    found = rows()
    assert len(found) > 190
    for row in found:
        assert len(row) % 2 == 0, row
        cells = row[len(row) // 2 :]
        assert all(cells[:-1]), cells
    for status in column("status"):
        assert re.match(r"documented|observed|unproven|mixed", status), status


def test_L3_every_file_that_is_named_is_there() -> None:
    named = [name for cell in column("used in") for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 250
    for name in named:
        assert (UTILS / name if name.startswith("_") else CHECKOUT / name).exists(), name


def test_L3_every_operation_that_a_trace_is_to_tell_exists() -> None:
    """`CreateRule` and the like, in the words of the models."""
    session = botocore.session.get_session()
    known = {name for service in SERVICES for name in session.get_service_model(service).operation_names}
    named = {name for cell in column("a trace tells") for name in re.findall(r"`([A-Z]\w+)`", cell)}
    assert len(named) > 25 and named - known == set()


def files_of(word: str) -> set[str]:
    """The files that the page names for a word."""
    told = [row[len(row) // 2 :] for row in rows() if row[0] == "word"]
    return {
        name for cells in told if f"`{word}`" in cells[0] for name in re.findall(r"`(_\w+\.py)`", " ".join(cells[1:]))
    }


def test_L3_every_word_of_aws_is_on_the_page_with_its_file() -> None:
    words = {(word, path.name) for path in UTILS.glob("_*.py") if path.name not in NOT_AWS for word in words_of(path)}
    assert len(words) > 150
    assert sorted(f"{word} of {name}" for word, name in words if name not in files_of(word)) == []


def test_L3_no_word_is_left_over() -> None:
    used = {word for path in UTILS.glob("_*.py") if path.name not in NOT_AWS for word in words_of(path)}
    named = {name for row in rows() if row[0] == "word" for name in re.findall(r"`([^`]+)`", row[len(row) // 2])}
    assert named - used == set()
