#!/usr/bin/env python3
"""Behaviours of the local AWS and the tests that hold them: their table, its check, and proof that each test can fail.

usage: behaviours.py table            write docs/sandbox-behaviours.md
       behaviours.py check            exit 1 when one has no test, sentence or page, or the table is not up to date
       behaviours.py mutate [NAME…]   take each out (patterns allowed), run its tests, exit 1 unless every one goes red
"""

from __future__ import annotations

import argparse
import ast
import fnmatch
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TABLE = CHECKOUT / "docs" / "sandbox-behaviours.md"
DECORATORS = {"rule", "behaviour"}
MARKER = "pytest.mark.behaviour"
PAGE = re.compile(r"https://[^\s()]+[^\s().,;]")
TITLES = {
    "elbv2": "Elastic Load Balancing",
    "ec2": "EC2 (VPC)",
    "ecs": "ECS",
    "ssmmessages": "Session Manager (ECS Exec's data channel)",
    "ecr": "ECR",
    "rds": "RDS",
    "secretsmanager": "Secrets Manager",
    "iam": "IAM",
    "sts": "STS",
    "logs": "CloudWatch Logs",
    "cloudwatch": "CloudWatch",
    "cloudtrail": "CloudTrail",
    "config": "Config",
    "s3": "S3",
    "kms": "KMS",
    "acm": "Certificate Manager",
    "sns": "SNS",
    "sqs": "SQS",
    "events": "EventBridge",
}
# pytest's exit codes: tests failed; anything else but 0 says that they did not run as they should.
RED = 1
RUN_SECONDS = 300


@dataclass
class Behaviour:
    name: str
    service: str
    code: str
    stateful: bool
    sentence: str
    page: str
    where: str
    tests: list[str] = field(default_factory=list)


def behaviours() -> dict[str, Behaviour]:
    """Every decorated function below sandbox/, by name, with the tests that are marked with it."""
    found: dict[str, Behaviour] = {}
    for file in sorted((CHECKOUT / "sandbox").rglob("*.py")):
        for function, call in _decorated(file, lambda name: name.rpartition(".")[2] in DECORATORS):
            known = _behaviour(file, function, call)
            if known.name in found:
                raise SystemExit(f"{known.where}: {known.name} is there twice (also {found[known.name].where})")
            found[known.name] = known
    for file in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        for function, call in _decorated(file, lambda name: name == MARKER):
            for argument in call.args:
                name, test = ast.literal_eval(argument), f"{file.relative_to(CHECKOUT)}::{function.name}"
                if name not in found:
                    raise SystemExit(f"{test}: no behaviour is named {name}")
                found[name].tests.append(test)
    return found


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _decorated(file: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[Function, ast.Call]]:
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, Function):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and wanted(ast.unparse(decorator.func)):
                    yield node, decorator


def _behaviour(file: Path, function: Function, call: ast.Call) -> Behaviour:
    named = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg in ("code", "stateful")}
    service = ast.literal_eval(call.args[0])
    text = ast.get_docstring(function) or ""
    page = PAGE.search(text)
    return Behaviour(
        name=f"{service}.{function.name.lstrip('_')}",
        service=service,
        code=ast.literal_eval(named["code"]) if "code" in named else "",
        stateful=ast.literal_eval(named["stateful"]) if "stateful" in named else True,
        sentence=" ".join(text[: page.start() if page else len(text)].split()).rstrip(" (:"),
        page=page.group(0) if page else "",
        where=f"{file.relative_to(CHECKOUT)}:{function.lineno}",
    )


def table(found: dict[str, Behaviour]) -> str:
    """The page of all behaviours, grouped by service."""
    stateful = sum(known.stateful for known in found.values())
    lines = [
        "# What the local AWS does as AWS does",
        "",
        "Written by `scripts/behaviours.py table` from the code; a test holds it up to date. "
        f"{len(found)} behaviours, {stateful} of them stateful",
        "(records or time decide; the others, marked ◦, are limits and forms that the request alone decides).",
        "Each can be taken out: `scripts/behaviours.py mutate` does so one by one and wants its tests red.",
        "",
        "The table says what is *claimed* of AWS and where AWS says it. What is different is in "
        "[sandbox.md](sandbox.md#where-it-is-not-aws).",
    ]
    services = [name for name in TITLES if any(known.service == name for known in found.values())]
    for service in services + sorted({known.service for known in found.values()} - set(services)):
        rows = sorted((known for known in found.values() if known.service == service), key=lambda known: known.name)
        lines += [
            "",
            f"## {TITLES.get(service, service)} ({len(rows)})",
            "",
            "| behaviour | code | test |",
            "|---|---|---|",
        ]
        lines += [_row(known) for known in rows]
    return "\n".join(lines) + "\n"


def _row(known: Behaviour) -> str:
    mark = "" if known.stateful else "◦ "
    tests = "<br>".join(
        f"[{name}](../{file})" for file, _, name in (test.partition("::") for test in sorted(known.tests))
    )
    sentence = known.sentence.replace("|", "\\|")
    codes = ", ".join(f"`{code}`" for code in re.split(r"[,\s]+", known.code) if code)
    return f"| {mark}{sentence} ([page]({known.page})) | {codes} | {tests} |"


def check(found: dict[str, Behaviour]) -> list[str]:
    """What is wrong, one line each."""
    wrong = []
    for known in found.values():
        if not known.tests:
            wrong.append(f"{known.where}: {known.name} has no test")
        if not known.page:
            wrong.append(f"{known.where}: {known.name} names no page in its docstring")
        if not 15 <= len(known.sentence) <= 200:
            wrong.append(f"{known.where}: {known.name} says in no sentence what AWS does")
    if not TABLE.is_file() or TABLE.read_text() != table(found):
        wrong.append(f"{TABLE.relative_to(CHECKOUT)} is not up to date: scripts/behaviours.py table")
    return wrong


def without(known: Behaviour) -> tuple[str, float]:
    """(what became of its tests with the behaviour taken out, seconds)."""
    if not known.tests:
        return "BROKEN: no test is marked with it", 0.0
    start = time.monotonic()
    # Failing fast, in its own sandbox; a test that hangs without its behaviour is as red as one that fails.
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:xdist", "-m", "", "-rfE", *known.tests]
    environment = {**os.environ, "PAPYRUS_SANDBOX_WITHOUT": known.name}
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        try:
            output, _ = run.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            # So that it ends its sandbox.
            run.send_signal(signal.SIGINT)
            run.communicate()
            return "red: never ended", time.monotonic() - start
    seconds = time.monotonic() - start
    if run.returncode == 0:
        return "GREEN", seconds
    if run.returncode != RED:
        return f"BROKEN: pytest ended with {run.returncode}: {output[-300:]}", seconds
    failed = {line.split()[1].partition("[")[0] for line in output.splitlines() if line.startswith("FAILED ")}
    if not failed:
        return "BROKEN: no test failed, but one's preparation did", seconds
    green = [test for test in known.tests if test not in failed]
    return ("red" if not green else f"red, but GREEN in {', '.join(green)}"), seconds


def mutate(found: dict[str, Behaviour], patterns: list[str], jobs: int) -> int:
    """The number of behaviours with a test that did not go red."""
    chosen = [
        known for known in found.values() if any(fnmatch.fnmatchcase(known.name, pattern) for pattern in patterns)
    ]
    wrong = 0
    with ThreadPoolExecutor(jobs) as pool:
        for known, (result, seconds) in zip(chosen, pool.map(without, chosen), strict=True):
            wrong += result not in ("red", "red: never ended")
            print(f"{known.name}: {result} ({seconds:.1f} s, {len(known.tests)} tests)", flush=True)
    print(f"{len(chosen)} behaviours taken out, {len(chosen) - wrong} of them with every test red, {wrong} not")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "check", "mutate"])
    parser.add_argument("names", nargs="*", default=["*"])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    found = behaviours()
    if arguments.what == "table":
        TABLE.write_text(table(found))
        return 0
    if arguments.what == "mutate":
        return 1 if mutate(found, arguments.names, arguments.jobs) else 0
    wrong = check(found)
    print("\n".join(wrong) if wrong else f"{len(found)} behaviours, each with sentence, page and test")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
