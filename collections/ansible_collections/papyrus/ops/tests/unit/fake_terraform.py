# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for the terraform binary: records what it is told and every signal, keeps a state, takes its time.

Environment: FAKE_TF_RECORD (file, one line per event), FAKE_TF_APPLY_SECONDS, FAKE_TF_DESTROY_SECONDS,
FAKE_TF_DESTROY_FAILURES (how many destroys fail), FAKE_TF_APPLY_ERROR (text of an error after the first resource),
FAKE_TF_LINGER_SECONDS (how long an apply goes on after its signal).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

STATE = Path("terraform.tfstate")
RECORD = Path(os.environ["FAKE_TF_RECORD"])
signals = 0


def record(event: str) -> None:
    with RECORD.open("a") as file:
        file.write(f"{event}\n")


def on_signal(number: int, _frame: object) -> None:
    global signals
    signals += 1
    record(f"signal {signal.Signals(number).name}")
    if signals > 1:
        os._exit(1)  # as the real one: at once, without saving its state


def save(resources: list[str]) -> None:
    outputs = {"alb_arn": {"value": os.environ.get("FAKE_TF_ALB_ARN", ""), "type": "string"}} if resources else {}
    STATE.write_text(json.dumps({"version": 4, "resources": resources, "outputs": outputs}))


def apply() -> int:
    variables = json.loads(Path("run.auto.tfvars.json").read_text())
    record(f"variables {oct(Path('run.auto.tfvars.json').stat().st_mode & 0o777)} {sorted(variables)}")
    save(["aws_security_group.alb"])
    print("aws_security_group.alb: Creation complete after 0s [id=sg-1]", flush=True)
    if os.environ.get("FAKE_TF_APPLY_ERROR"):
        print(os.environ["FAKE_TF_APPLY_ERROR"], file=sys.stderr)
        return 1
    end = time.monotonic() + float(os.environ.get("FAKE_TF_APPLY_SECONDS", "0"))
    while time.monotonic() < end:
        time.sleep(0.02)
        if signals:
            time.sleep(float(os.environ.get("FAKE_TF_LINGER_SECONDS", "0")))
            save(["aws_security_group.alb", "aws_lb.this"])
            print("\nError: execution halted\n", flush=True)
            return 1
    save(["aws_security_group.alb", "aws_lb.this"])
    print("Apply complete! Resources: 2 added, 0 changed, 0 destroyed.")
    return 0


def destroy() -> int:
    failures = int(os.environ.get("FAKE_TF_DESTROY_FAILURES", "0"))
    tried = RECORD.read_text().count("destroy -auto-approve")
    if tried <= failures:
        print(
            "\nError: error deleting Security Group (sg-1): DependencyViolation: resource sg-1 has a dependent object\n"
            "\tstatus code: 400, request id: 1b2c3d4e\n\n  with aws_security_group.alb,\n",
            file=sys.stderr,
        )
        return 1
    record("destroying")
    time.sleep(float(os.environ.get("FAKE_TF_DESTROY_SECONDS", "0")))
    save([])
    print("aws_security_group.alb: Destruction complete after 1s\nDestroy complete! Resources: 2 destroyed.")
    return 0


def main(arguments: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    record(" ".join(arguments))
    if arguments[0] == "version":
        print(json.dumps({"terraform_version": "1.15.5", "provider_selections": {}, "platform": "linux_amd64"}))
    elif arguments[0] == "init":
        print("Terraform has been successfully initialized!")
    elif arguments[0] == "apply":
        return apply()
    elif arguments[0] == "destroy":
        return destroy()
    elif arguments[0] == "output":
        print(json.dumps(json.loads(STATE.read_text())["outputs"] if STATE.exists() else {}))
    elif arguments[:2] == ["state", "pull"]:
        print(STATE.read_text() if STATE.exists() else "")
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    record(f"end {sys.argv[1]} {code}")
    sys.exit(code)
