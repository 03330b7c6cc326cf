"""What a step of a workflow calls: one playbook through ansible-runner, with what is secret in private files alone.

usage: .venv/bin/python scripts/workflow_play.py PLAYBOOK --inventory FOLDER --folder FOLDER [options]
FOLDER gets evidence/ (the bundles) and runner/ (ansible-runner's artifacts), to be uploaded. What no artifact may have
goes into FOLDER.private, mode 0700, which workflow_end.py removes when the run's guard has ended: credentials and ids
come by the environment, and the playbook finds them in files. Ends with the playbook's own exit code, 254 when
cancelled. Every argument may be hostile: none reaches a shell or a template.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
PLAYBOOKS = ("alb_smoke", "audit_export", "sweep")
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[a-z2-7]{6}")
IDS = {
    "VPC_ID": ("papyrus_vpc_id", re.compile(r"vpc-[0-9a-f]{8,17}")),
    "PUBLIC_SUBNET_IDS": ("papyrus_alb_subnet_ids", re.compile(r"subnet-[0-9a-f]{8,17}")),
    "ECS_TASK_SG_ID": ("papyrus_tasks_sg_id", re.compile(r"sg-[0-9a-f]{8,17}")),
}
"""Secrets of the workflow that are ids of AWS: the inventory's variable, and what one looks like."""
KEYS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Refused(Exception):
    """What was given is not taken; the message has no value of it."""


def words(text: str) -> list[str]:
    return re.split(r"[\s,]+", text.strip()) if text.strip() else []


def run_ids(text: str) -> list[str]:
    """The ids in a text with blanks or commas between them."""
    for each in words(text):
        if not RUN_ID.fullmatch(each):
            raise argparse.ArgumentTypeError(f"{each!r} is no run id such as 20261124T120000Z-abc234")
    return words(text)


def boolean(text: str) -> bool:
    if text not in ("true", "false", ""):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def service(text: str) -> str:
    """One host of the inventory, no pattern: another pattern could match nothing, and prove nothing."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) or text in ("all", "ungrouped"):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a host of the inventory")
    return text


def hours(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours")
    return int(text)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a playbook for a workflow.")
    parser.add_argument("playbook", choices=PLAYBOOKS)
    parser.add_argument("--inventory", required=True, type=Path, help="folder or file of the inventory")
    parser.add_argument("--folder", required=True, type=Path, help="gets evidence/ and runner/; not there yet")
    parser.add_argument("--service", type=service, help="the host of the inventory to run for; all when left out")
    parser.add_argument("--run-ids", type=run_ids, default=[], help="sweep: runs whose lease need not be over")
    parser.add_argument("--hours", type=hours, help="audit_export: how far back")
    parser.add_argument("--check", type=boolean, default=False, help="true: check mode, nothing is changed")
    return parser.parse_args(argv)


def private_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + ".private")


def given_ids(environ: dict[str, str]) -> dict[str, list[str]]:
    """Inventory variables by the ids that were given, which are taken out of the environment."""
    found = {}
    for name, (variable, shape) in IDS.items():
        ids = words(environ.pop(name, ""))
        if not all(map(shape.fullmatch, ids)) or (len(ids) > 1 and name != "PUBLIC_SUBNET_IDS"):
            raise Refused(f"{name} is not what it is called: expected like {shape.pattern}")
        if ids:
            found[variable] = ids
    return found


def variables(asked: argparse.Namespace, ids: dict[str, list[str]]) -> dict[str, Any]:
    """What the playbook is told beyond its inventory."""
    told: dict[str, Any] = {"papyrus_evidence_root": str(asked.folder / "evidence")}
    told |= {name: found if name.endswith("_ids") else found[0] for name, found in ids.items()}
    if asked.run_ids:
        told["papyrus_sweep_run_ids"] = asked.run_ids
    if asked.hours:
        told["papyrus_audit_hours"] = asked.hours
    return told


def take_credentials(environ: dict[str, str], file: Path) -> None:
    """Moves the keys of the environment into a file for the SDK: every process shows its environment, and
    ansible-runner writes it down."""
    keys = {option: environ.pop(name, "") for name, option in KEYS.items()}
    expires = environ.pop("AWS_CREDENTIAL_EXPIRATION", "").strip('"')  # the action gives it as JSON
    if not any(keys.values()):
        return
    if any("\n" in value or "\r" in value for value in keys.values()):
        raise Refused("credentials of several lines")
    lines = [f"{option} = {value}" for option, value in keys.items() if value]
    write_private(file, "\n".join(["[default]", *lines]) + "\n")
    environ["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    if TIME.fullmatch(expires):
        environ["AWS_CREDENTIAL_EXPIRATION"] = expires


def write_private(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def prepare(asked: argparse.Namespace, environ: dict[str, str]) -> dict[str, list[str]]:
    """Makes the folders and ansible-runner's private data dir; returns the ids that were given."""
    ids = given_ids(environ)
    private = private_folder(asked.folder)
    private.mkdir(mode=0o700, parents=True)
    take_credentials(environ, private / "credentials")
    for name in ("evidence", "runner"):
        (asked.folder / name).mkdir(mode=0o700, parents=True)
    (private / "env").mkdir()
    for name in ("settings", "envvars"):
        (private / "env" / name).write_bytes((CHECKOUT / "runner" / "env" / name).read_bytes())
    write_private(private / "env" / "extravars", json.dumps(variables(asked, ids)))
    (private / "project").symlink_to(CHECKOUT / "playbooks")
    return ids


def without_environment(status: dict[str, Any], runner_config: Any) -> None:
    """ansible-runner has written each variable of the environment into an artifact: only the names stay."""
    file = Path(runner_config.artifact_dir, "command")
    if status.get("status") == "running":
        content = json.loads(file.read_bytes())
        file.write_text(json.dumps(content | {"env": sorted(content["env"])}), "utf-8")


def play(asked: argparse.Namespace) -> int:
    """Runs the playbook, and returns its exit code. SIGINT and SIGTERM cancel it: the guard takes the run down."""
    import ansible_runner

    private = private_folder(asked.folder)
    ended = ansible_runner.run(
        private_data_dir=str(private),
        playbook=f"{asked.playbook}.yml",
        inventory=str(asked.inventory.absolute()),
        artifact_dir=str(asked.folder / "runner"),
        ident="job",
        limit=asked.service,
        cmdline="--check" if asked.check else None,
        suppress_env_files=True,
        status_handler=without_environment,
    )
    return int(ended.rc)


def main(argv: list[str]) -> int:
    asked = arguments(argv)
    asked.folder = asked.folder.absolute()
    on_github = os.environ.get("GITHUB_ACTIONS") == "true"
    try:
        if not asked.inventory.exists():
            raise Refused("no inventory is there")
        environ = dict(os.environ)
        ids = prepare(asked, environ)
    except (Refused, OSError) as exc:
        print(f"Nothing was run: {exc}", file=sys.stderr)
        return 2
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
    os.environ.clear()
    os.environ.update(environ)
    if on_github:
        for each in sorted({one for found in ids.values() for one in found}):
            print(f"::add-mask::{each}")  # GitHub knows the secret as a whole, a list of three subnets as one text
    # On GitHub a line of output can be a command to the runner; what the playbook prints has names and tags of others.
    silence = f"papyrus-{secrets.token_hex(16)}"
    if on_github:
        print(f"::stop-commands::{silence}", flush=True)
    try:
        code = play(asked)
    finally:
        if on_github:
            print(f"\n::{silence}::", flush=True)
    if code == 0 and not asked.check and not any((asked.folder / "evidence").iterdir()):
        print(f"{asked.playbook} has left no evidence: it proved nothing", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
