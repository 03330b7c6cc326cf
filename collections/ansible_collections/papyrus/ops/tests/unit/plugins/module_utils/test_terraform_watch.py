# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Terraform does just now, from what it writes (issue 8)."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._terraform_watch import TerraformWatch

APPLY = """$ terraform init -input=false -no-color
Initializing provider plugins...

# exit code 0 after 2.1 s

$ terraform apply -auto-approve -input=false -no-color -lock-timeout=60s
data.aws_vpc.this: Reading...
data.aws_vpc.this: Read complete after 0s [id=vpc-1]
  # aws_lb.this will be created
Plan: 3 to add, 0 to change, 0 to destroy.
aws_security_group.alb: Creating...
aws_lb_target_group.this: Creating...
aws_security_group.alb: Creation complete after 1s [id=sg-1]
aws_lb.this: Creating...
aws_lb.this: Still creating... [10s elapsed]
aws_lb_target_group.this: Creation complete after 11s [id=tg]
aws_lb.this: Creation complete after 2m1s [id=lb]

Apply complete! Resources: 3 added, 0 changed, 0 destroyed.

# exit code 0 after 123.0 s
"""
SEEN = {
    "$ terraform init": "terraform init",
    "$ terraform apply": "terraform apply",
    "Plan:": "terraform apply, 0 of 3 done",
    "aws_security_group.alb: Creating": "creating aws_security_group.alb, 0 of 3 done",
    "aws_lb_target_group.this: Creating": "creating aws_security_group.alb, aws_lb_target_group.this, 0 of 3 done",
    "aws_lb.this: Still": "creating aws_lb_target_group.this, aws_lb.this, 1 of 3 done",
    "aws_lb_target_group.this: Creation complete": "creating aws_lb.this, 2 of 3 done",
    "# exit code 0 after 123": "terraform apply has ended, and then, 3 of 3 done",
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "apply.log"


def test_each_line_of_an_apply_moves_it_on(log: Path) -> None:
    watch = TerraformWatch(log, "and then")
    assert watch.look() == ""
    seen = {}
    for line in APPLY.splitlines(keepends=True):
        with log.open("a", encoding="utf-8") as file:
            file.write(line)
        seen |= {start: watch.look() for start in SEEN if line.startswith(start)}
    assert seen == SEEN
    assert watch.look() == SEEN["# exit code 0 after 123"]


def test_a_destroy_and_a_second_try_of_it(log: Path) -> None:
    watch = TerraformWatch(log, "and then")
    log.write_text(
        "$ terraform destroy\nPlan: 0 to add, 0 to change, 2 to destroy.\n"
        "aws_lb.this: Destroying... [id=lb]\naws_lb.this: Still destroying... [id=lb, 10s elapsed]\nhalf of a li"
    )
    assert watch.look() == "destroying aws_lb.this, 0 of 2 done"
    with log.open("a", encoding="utf-8") as file:
        file.write("ne\n# exit code 1 after 60 s\n$ terraform destroy\n")
    assert watch.look() == "terraform destroy"
