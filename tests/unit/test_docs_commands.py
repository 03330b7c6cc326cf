"""M1: every command in the documentation is run by a test, or says that it needs AWS."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.docs_commands import Command, commands, commands_of

HERE = "tests/unit/test_docs_commands.py"
LOCAL_AWS = "tests/sandbox/test_docs_commands.py"

RUN_BY: dict[str, tuple[str, str]] = {
    # what is run word by word, here and against a local AWS
    r"cat docs/evidence/sandbox/\S+": (HERE, "OFFLINE"),
    r"scripts/verify docs/evidence/sandbox/\* --key docs/evidence/sandbox-signing-key\.pub\.pem": (HERE, "OFFLINE"),
    r"sed -i '[^']+' app/papyrus/blueprints/index\.py": (HERE, "OFFLINE"),
    r"(\(umask 077; |base64 -d key\.b64 \| )?openssl .*": (HERE, "def test_M1_the_signers_page"),
    r"python3 - <<'E'.*": (HERE, "def test_M1_the_signers_page"),
    r"(zcat \S+ \| )?jq .*": (HERE, "def test_M1_what_is_asked_of_an_export"),
    r"make clean": (HERE, "def test_M1_make_clean"),
    r"\.venv/bin/molecule test --scenario-name evidence": ("tests/molecule/test_scenarios.py", 'action="test"'),
    r'curl -s (-X (PUT|DELETE) )?"\$AWS_ENDPOINT_URL/_sandbox/.*': (LOCAL_AWS, "curl"),
    r"aws (ecs list-tasks|logs filter-log-events|ec2 describe-security-groups|elbv2 describe-load-balancers) .*": (
        LOCAL_AWS,
        "AWS_CLI",
    ),
    r"ansible localhost -m papyrus\.ops\.run_leftovers(_info)? -a .*": (LOCAL_AWS, "ANSIBLE"),
    # what other tests run as well, or only they can
    r"make (smoke|test|lint|stacks|sandbox-up|sandbox-down|sandbox-status)": (HERE, "def test_M1_make_does"),
    r'eval "\$\(make -s sandbox-env\)"': ("tests/sandbox/test_core_lifecycle.py", 'sandbox.run("env")'),
    r"make verify BUNDLE=\S+": ("tests/unit/test_verify_evidence.py", '"make", "-s", "verify"'),
    r"scripts/bootstrap product": ("Makefile", "scripts/bootstrap product"),
    r"scripts/verify .* --key public\.pem": ("tests/unit/test_docs_evidence.py", '"scripts" / "verify"'),
    r"cd docs/evidence/sandbox/<run id>": ("tests/unit/test_docs_evidence.py", "cwd=bundle()"),
    r"sha256sum -c --strict --quiet SHA256SUMS": ("tests/unit/test_docs_evidence.py", '"sha256sum", "-c"'),
    r"(\.venv/bin/)?ansible-playbook playbooks/alb_smoke\.yml( --check --diff)?": (
        "tests/e2e/harness.py",
        "alb_smoke.yml",
    ),
    r"(\.venv/bin/)?ansible-playbook playbooks/release\.yml( --check --diff)?": (
        "tests/e2e/releases.py",
        "release.yml",
    ),
    r"(\.venv/bin/)?ansible-playbook playbooks/schema\.yml( --check)?": ("tests/e2e/test_schema.py", "schema.yml"),
    r"ansible-playbook playbooks/monitor\.yml": ("tests/e2e/test_monitor.py", "monitor.yml"),
    r"ansible-playbook playbooks/alarm_drill\.yml": ("tests/e2e/test_alarm_drill.py", "alarm_drill.yml"),
    r"\.venv/bin/python scripts/trace_compare\.py tests/contract/traces/local-aws\.jsonl \S+": (
        "tests/unit/test_trace_compare.py",
        '"scripts/trace_compare.py"',
    ),
    r"ansible-playbook playbooks/sweep\.yml( --check| -e papyrus_sweep_run_ids=\S+)?": (
        "tests/e2e/kill_sweeps.py",
        "playbooks/sweep.yml",
    ),
    r"ansible-playbook playbooks/audit_export\.yml( -e papyrus_audit_days=90)?": (
        "tests/e2e/test_audit.py",
        "audit_export.yml",
    ),
    r"ansible-playbook playbooks/audit_export\.yml -e papyrus_audit_of=.*": (
        "tests/e2e/test_alb_smoke.py",
        '"papyrus_audit_of"',
    ),
    r"PAPYRUS_SANDBOX_ROOT=\S+ scripts/sandbox (up|down)": ("scripts/test", "scripts/sandbox up"),
    r"PAPYRUS_SANDBOX_ROOT=\S+ scripts/sandbox up && PAPYRUS_SANDBOX_ROOT=\S+ scripts/stacks": (
        "scripts/test",
        "scripts/stacks",
    ),
    r"PAPYRUS_SANDBOX_ENGINE=podman scripts/sandbox up": (
        "tests/sandbox/test_core_containers.py",
        "PAPYRUS_SANDBOX_ENGINE",
    ),
    r'curl -si (-x|--connect-to) "\S+" http://<DNSName>/': (
        "tests/sandbox/test_elbv2_traffic.py",
        'HTTPConnection("127.0.0.1", self.sandbox.facts["port"]',
    ),
    r'psql "host=<address> .*sslmode=verify-full .*"': ("tests/e2e/test_schema.py", 'sslmode="verify-full"'),
    r"aws ecs execute-command .*": ("tests/sandbox/test_exec_cli.py", '"ecs", "execute-command"'),
    r"ansible-playbook playbooks/doctor\.yml( -e .*)?": ("tests/e2e/test_doctor.py", "playbooks/doctor.yml"),
    r'export PATH="\$PWD/\.venv/bin:\$PATH"': ("scripts/test", 'export PATH="$PWD/.venv/bin:$PATH"'),
    r"ansible-runner run runner -p (alb_smoke|sweep)\.yml( --cmdline=--check)?": (
        "tests/e2e/runner_launch.py",
        '"ansible-runner"), verb, str(CHECKOUT / "runner"), "-p"',
    ),
    r"ansible-builder (create --context \S+|introspect collections)": (
        "tests/unit/test_execution_environment.py",
        '"ansible-builder", "create"',
    ),
    r"echo .* >\.sandbox/here\.json|\.venv/bin/python scripts/fleet\.py .*": (
        "tests/unit/test_fleet.py",
        '"scripts/fleet.py"',
    ),
    r"export PAPYRUS_SANDBOX_ROOT=\S+ PYTHONPATH=\S+": ("scripts/test", "export PAPYRUS_SANDBOX_ROOT"),
    r"(\.venv/bin/)?python -m tests\.e2e\.fault_(matrix RESULTS (direct|preflight|sweep|apply|once)|table .*)": (
        "tests/e2e/test_fault_matrix.py",
        "from .fault_matrix import",
    ),
    r"(\.venv/bin/)?python -m tests\.e2e\.kill_storm (run|table) .*": (
        "tests/e2e/test_kill_storm.py",
        "from .kill_storm import",
    ),
    r"python -m tests\.terraform\.policies\.report": ("tests/terraform/test_iam.py", "report.with_tables("),
    r"(\.venv/bin/)?pytest (-m soak )?(-q )?(-n0 )?tests/\S+\.py": ("pyproject.toml", "testpaths"),
}
"""Command (the whole of it) → the file that runs it, and what is to be found there."""

OFFLINE = [
    command
    for command in commands()
    if command.text.startswith(("cat docs/", "scripts/verify docs/evidence/sandbox", "sed -i"))
]
EVENT = {"eventTime": "2026-01-31T12:00:01Z", "eventName": "CreateLoadBalancer", "userIdentity": {"arn": "a"}}
EXPORTS: dict[str, list[dict[str, Any]]] = {
    "cloudtrail_events_1.jsonl.gz": [
        {**EVENT, "readOnly": False},
        {**EVENT, "eventName": "DescribeTags", "readOnly": True, "errorCode": "AccessDenied"},
    ],
    "config_items_1.jsonl.gz": [
        {
            "configurationItemStatus": "OK",
            "configurationItemCaptureTime": "t",
            "resourceType": "T",
            "resourceId": "i",
            "configuration": '{"a": 1}',
        }
    ],
    "log_events_1.jsonl.gz": [{"status": 503, "message": "m"}, {"malformed": True, "entry": {"message": "x"}}],
}


def without_inventory(text: str) -> str:
    """The same playbooks run with the inventory of a real account and with that of the local AWS."""
    return text.replace(" -i inventories/prd", "")


def unknown(command: Command) -> bool:
    text = without_inventory(command.text)
    return not command.needs_aws and not any(re.fullmatch(known, text, re.DOTALL) for known in RUN_BY)


def shell(text: str, folder: Path) -> str:
    """What a command prints; it ends well."""
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{text}: {done.stdout[-500:]}{done.stderr[-500:]}"
    return done.stdout


def need(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")


def test_M1_every_command_is_run_by_a_test_or_needs_aws() -> None:
    found = commands()
    assert len(found) > 100 and sum(command.needs_aws for command in found) >= 8
    assert [f"{command.page}:{command.line}: {command.text}" for command in found if unknown(command)] == []


@pytest.mark.parametrize(("file", "needle"), sorted(set(RUN_BY.values())))
def test_M1_the_file_that_runs_it_is_there_and_does(file: str, needle: str) -> None:
    assert needle in (CHECKOUT / file).read_text("utf-8"), f"{file} has no {needle}"


def test_M1_no_entry_is_left_over() -> None:
    texts = [without_inventory(command.text) for command in commands()]
    assert [known for known in RUN_BY if not any(re.fullmatch(known, text, re.DOTALL) for text in texts)] == []


@pytest.mark.parametrize(
    "page",
    [
        "    kubectl get pods\n",
        "Text\n\n    make smoke && rm -rf /    # nobody runs that\n",
        "```sh\nansible-playbook playbooks/unheard_of.yml\n```\n",
        "    scripts/verify --everything\n",
        "    cat docs/evidence/sandbox/*/run.json |\n        unheard-of\n",
    ],
)
def test_M1_a_command_that_nobody_runs_is_found(page: str) -> None:
    assert [command for command in commands_of("page.md", page) if unknown(command)] != []


def test_M1_listings_settings_and_what_needs_aws_are_told_apart() -> None:
    page = "    aws sts get-caller-identity    # AWS: whose\n\n    - papyrus.ops.ecs_exec:\n        command: x\n"
    assert [(command.text, command.needs_aws) for command in commands_of("p", page)] == [
        ("aws sts get-caller-identity", True)
    ]
    assert list(commands_of("p", "```python\nimport os\n```\n")) == []


@pytest.mark.parametrize("command", OFFLINE, ids=lambda command: f"{command.page}:{command.line}")
def test_M1_what_needs_nothing_is_run_as_it_is_written(command: Command, tmp_path: Path) -> None:
    folder = CHECKOUT
    if command.text.startswith("sed"):
        shutil.copytree(CHECKOUT / "app" / "papyrus", tmp_path / "app" / "papyrus")
        folder = tmp_path
    before = (folder / "app/papyrus/blueprints/index.py").read_text("utf-8")
    printed = shell(command.text, folder)
    if command.text.startswith("sed"):
        assert (folder / "app/papyrus/blueprints/index.py").read_text("utf-8") != before
    else:
        assert printed
        for word in re.split(r", (?=[A-Z]+:)|、", command.note) if command.text.startswith("cat") else []:
            known = re.split(r" … ?|…", word)[0]
            assert known in printed or not known.isascii() or known.startswith("the answer"), known


def test_M1_the_signers_page_makes_a_key_and_checks_an_envelope(tmp_path: Path) -> None:
    need("openssl", "python3", "sha256sum")
    found = {command.text: command.note for command in commands() if command.page == "docs/evidence/signers.md"}
    make = [text for text in found if "genpkey" in text or text.startswith("openssl pkey -in")]
    assert len(make) == 2
    for text in make:
        shell(text, tmp_path)
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    bundle = next((CHECKOUT / "docs" / "evidence" / "sandbox").iterdir())
    shutil.copy(bundle / "attestation.dsse.json", tmp_path)
    shutil.copy(CHECKOUT / "docs" / "evidence" / "sandbox-signing-key.pub.pem", tmp_path / "key.pub.pem")
    envelope = json.loads((tmp_path / "attestation.dsse.json").read_bytes())
    [keyid] = [text for text in found if "sha256sum" in text]
    assert envelope["signatures"][0]["keyid"] in shell(keyid, tmp_path)
    [unpack] = [text for text in found if text.startswith("python3")]
    shell(unpack, tmp_path)
    [check] = [text for text in found if "pkeyutl" in text]
    assert "Verified Successfully" in shell(check, tmp_path)
    (tmp_path / "pae").write_bytes((tmp_path / "pae").read_bytes() + b" ")
    with pytest.raises(AssertionError):
        shell(check, tmp_path)


@pytest.mark.parametrize(
    "text",
    sorted(
        {command.text for command in commands() if re.search(r"\bjq ", command.text) and "curl" not in command.text}
    ),
)
def test_M1_what_is_asked_of_an_export_has_an_answer(text: str, tmp_path: Path) -> None:
    need("jq", "zcat", "sha256sum")
    for name, lines in EXPORTS.items():
        (tmp_path / name).write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    name = "cloudtrail_events_1.jsonl.gz"
    sums = shell(f"sha256sum {name}", tmp_path).split()[0]
    completeness = {
        "windows": [{"events": 0, "start": "a", "end": "b"}, {"events": 2, "start": "b", "end": "c"}],
        "files": [{"name": name, "sha256": sums}],
        "filter": {"jq": 'select(.eventName == "CreateLoadBalancer")'},
    }
    (tmp_path / "completeness.json").write_text(json.dumps(completeness))
    assert shell(text, tmp_path)


@pytest.mark.parametrize(
    ("target", "does"),
    [
        ("smoke", "scripts/smoke"),
        ("test", "scripts/test"),
        ("lint", "scripts/lint"),
        ("stacks", "scripts/stacks"),
        ("sandbox-up", "scripts/sandbox up"),
        ("sandbox-down", "scripts/sandbox down"),
        ("sandbox-status", "scripts/sandbox status"),
    ],
)
def test_M1_make_does_what_the_tests_do(target: str, does: str) -> None:
    """A whole `make smoke` is not run here: its steps are, by the end-to-end tests, in the same order."""
    need("make")
    assert does in shell(f"make -n {target}", CHECKOUT)
    steps = re.findall(
        r"scripts/sandbox up|scripts/stacks|playbooks/\w+\.yml", (CHECKOUT / "scripts/smoke").read_text("utf-8")
    )
    assert steps == ["scripts/sandbox up", "scripts/stacks", "playbooks/alb_smoke.yml"]
    everything = (CHECKOUT / "scripts" / "test").read_text("utf-8")
    assert "\nscripts/lint\n" in everything
    assert everything.index("scripts/sandbox up") < everything.index("scripts/stacks") < everything.index("\ntests -n")
    assert "exec make test" in (CHECKOUT / ".ci" / "run").read_text("utf-8")


def test_M1_make_clean_takes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    need("make")
    (tmp_path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    shutil.copy(CHECKOUT / "scripts" / "sandbox", tmp_path / "scripts")
    made = [".venv", ".sandbox/state", "docs/evidence/runs/one", "docs/evidence/ledger"]
    for folder in [*made, "docs/evidence/sandbox"]:
        (tmp_path / folder).mkdir(parents=True)
    shell("make clean", tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["Makefile", "docs", "docs/evidence", "docs/evidence/sandbox", "scripts", "scripts/sandbox"]
