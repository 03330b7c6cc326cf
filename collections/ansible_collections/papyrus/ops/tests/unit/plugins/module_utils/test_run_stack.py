# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a run's stack when things go wrong in it: locks, disks, networks, credentials (C6, C7). Nothing waits."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _leftovers, _locks, _run_gone, _run_settings
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import working_in
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Found
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import open_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Settings
from ansible_collections.papyrus.ops.plugins.module_utils._run_stack import StackRun
from ansible_collections.papyrus.ops.plugins.module_utils._run_unguarded import sweep_without_state
from ansible_collections.papyrus.ops.plugins.module_utils._sweep import Order, Swept
from ansible_collections.papyrus.ops.plugins.module_utils._terraform import ProcessRunner, Ran, held_lock

LOCK = """
Error: Error acquiring the state lock

Error message: operation error S3: PutObject, https response error StatusCode: 412, api error PreconditionFailed: no
Lock Info:
  ID:        {id}
  Path:      states/{path}
  Operation: OperationTypeApply
  Who:       {who}
  Version:   1.15.5
  Created:   2026-11-27 03:00:00.123456789 +0000 UTC
  Info:


Terraform acquires a state lock to protect the state from being written
by multiple users at the same time. Please resolve the issue above and try again.
"""
LOCK_ID = "0a1b2c3d-0000-4000-8000-9e8d7c6b5a40"
BALANCER = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke-abc234/50dc6c495c0c9188"


class Cloud:
    """What AWS has of the run, and since when it answers; `refuses` is the code of every answer."""

    def __init__(self) -> None:
        self.time = 0.0
        self.left: list[str] = []
        self.rules: list[tuple[str, str]] = []
        self.away_until = 0.0
        self.refuses = ""
        self.sweeps: list[tuple[float, Order]] = []

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def clock(self) -> float:
        return self.time

    def find(self, *_: Any, **__: Any) -> Found:
        code = self.refuses or ("EndpointConnectionError" if self.time < self.away_until else "")
        if code:
            return Found(failures=[{"code": code, "text": f"DescribeLoadBalancers failed: {code}: no."}])
        marks = {"run_id": "", "expires_at": "", "expired": None, "service": "svc"}
        found = Found(described=[{"operation": "DescribeLoadBalancers", "count": len(self.left), "request_ids": ["r"]}])
        found.resources = [
            {"kind": "load_balancer", "id": arn, "name": arn.split("/")[2], **marks} for arn in self.left
        ]
        found.resources += [
            {"kind": "security_group_rule", "id": group, "name": "a rule", "detail": {"group_id": group, "peer": peer},
             **marks}
            for group, peer in self.rules
        ]  # fmt: skip
        return found

    def sweep(self, clients: Any, scope: Any, order: Order, **_: Any) -> Swept:
        self.sweeps.append((self.time, order))
        before = self.find()
        if not before.failures:
            self.left, self.rules = [], []
        after = self.find()
        return Swept(before, after, deleted=before.resources, log=["DeleteLoadBalancer: done"], gone=after.gone)


class Script(ProcessRunner):
    """A runner that answers each Terraform command as told: exit code and output; the last answer stays."""

    def __init__(self, cloud: Cloud, **answers: Sequence[tuple[int, str] | OSError]) -> None:
        super().__init__()
        self.cloud = cloud
        self.answers = {name.replace("_", "-"): list(given) for name, given in answers.items()}
        self.said: list[str] = []
        self.before: Callable[[str], object] = str

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path, timeout: float) -> Ran:
        self.before(argv[1])
        self.said.append(" ".join(argv[1:]))
        left = self.answers.get(argv[1], [(0, "")])
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, OSError):
            raise answer
        if argv[1] == "apply":
            (cwd / "terraform.tfstate").write_text('{"resources": [{}]}')
        return Ran(tuple(argv), answer[0], 1.0, answer[1])


class Stand:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **stack: Any) -> None:
        for name in ("source", "x"):
            (folder / name).mkdir()
        (folder / "source" / "main.tf").write_text('variable "run_id" {}\nvariable "expires_at" {}\n')
        monkeypatch.setenv("TMPDIR", str(folder / "x"))
        monkeypatch.setattr("tempfile.tempdir", None)
        options = {
            "evidence_root": str(folder / "runs"), "ledger": str(folder / "ledger"), "service": "svc",
            "tag_prefix": "papyrus", "lease_minutes": 60, "start_guard": False, "region": "us-west-2",
            "stack": {"source": str(folder / "source"), "name_prefix": "papyrus-smoke", **stack},
        }  # fmt: skip
        self.run = open_run(
            options, {"git": {"commit": "c0ffee", "dirty": False}}, controller=None, environ={"PATH": "/bin"}
        )
        self.settings = Settings.load(self.run["private"])
        self.private = Path(self.run["private"])
        self.cloud = Cloud()
        self.said: list[str] = []
        monkeypatch.setattr(_leftovers, "find", self.cloud.find)
        monkeypatch.setattr(_leftovers, "wait_gone", self.cloud.find)
        monkeypatch.setattr(_run_gone, "sweep", self.cloud.sweep)

    def stack_run(self, **answers: Any) -> tuple[StackRun, Script]:
        script = Script(self.cloud, **answers)
        run = StackRun(
            self.settings,
            lambda: lambda service: None,
            environ={},
            runner=script,
            log=self.said.append,
            clock=self.cloud.clock,
            sleep=self.cloud.sleep,
        )
        return run, script

    def lock(self, **given: str) -> tuple[int, str]:
        known = {"id": LOCK_ID, "path": f"papyrus/{self.run['id']}.tfstate", "who": f"ops@{socket.gethostname()}"}
        return 1, LOCK.format(**known | given)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (Path(self.run["folder"]) / "manifest.jsonl").read_text().splitlines()]

    def item(self, name: str) -> Any:
        path = next(line["path"] for line in reversed(self.lines()) if line["name"] == name)
        return json.loads((Path(self.run["folder"]) / path).read_bytes())


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_for_keeping: None) -> Callable[..., Stand]:
    return lambda **stack: Stand(tmp_path, monkeypatch, **stack)


S3 = {"s3": {"bucket": "states", "key": "papyrus/{run_id}.tfstate", "use_lockfile": True}}


# Locks


def test_C6_the_lock_of_a_dead_terraform_of_this_run_is_freed_once_and_told(stand: Callable[..., Stand]) -> None:
    made = stand(backend=S3)
    run, script = made.stack_run(destroy=[made.lock(), (0, "Destroy complete!")])
    run.apply()
    result = run.destroy()
    assert script.said.count(f"force-unlock -force {LOCK_ID}") == 1
    assert script.said[-1].startswith("destroy ")
    assert (result["ok"], result["gone"]) == (True, True)
    assert f"lock {LOCK_ID} on states/papyrus/{made.run['id']}.tfstate" in result["attempts"][0]["unlocked"]
    assert result["attempts"][0]["unlocked"].endswith("was freed: whoever held it is dead")
    log = next(line for line in made.lines() if line["name"] == "terraform_destroy.log")
    assert "was freed" in log["meta"]["attempts"][0]["unlocked"]


def test_C6_a_lock_is_freed_only_once(stand: Callable[..., Stand]) -> None:
    made = stand(backend=S3)
    run, script = made.stack_run(destroy=[made.lock()])
    run.apply()
    assert run.destroy()["ok"] is False
    assert [said.split()[0] for said in script.said].count("force-unlock") == 1


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"path": "papyrus/20260101T000000Z-other2.tfstate"}, "not on the state of this run"),
        ({"who": "somebody@elsewhere"}, "not taken on this machine"),
    ],
)
def test_C6_no_lock_of_others_is_freed(stand: Callable[..., Stand], given: dict[str, str], why: str) -> None:
    made = stand(backend=S3)
    run, script = made.stack_run(destroy=[made.lock(**given)])
    run.apply()
    result = run.destroy()
    assert not [said for said in script.said if said.startswith("force-unlock")]
    assert why in result["attempts"][0]["unlocked"]


def test_C6_no_lock_is_freed_while_a_terraform_of_the_run_lives(stand: Callable[..., Stand]) -> None:
    made = stand(backend=S3)
    run, script = made.stack_run(destroy=[made.lock()])
    run.apply()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=run.folder) as living:
        result = run.destroy()
        living.communicate(b"\n")
    assert not [said for said in script.said if said.startswith("force-unlock")]
    assert f"processes {living.pid} work in" in result["attempts"][0]["unlocked"]
    assert working_in(run.folder) == []


def test_C6_a_lock_on_a_local_state_is_none_to_free(stand: Callable[..., Stand]) -> None:
    made = stand()
    run, script = made.stack_run(destroy=[made.lock(path=f"{made.run['id']}/terraform.tfstate"), (0, "")])
    run.apply()
    assert "ends with its process" in run.destroy()["attempts"][0]["unlocked"]
    assert not [said for said in script.said if said.startswith("force-unlock")]


def test_C6_the_lock_is_read_as_terraform_words_it() -> None:
    text = LOCK.format(id=LOCK_ID, path="k.tfstate", who="root@runner-1")
    boxed = "╷\n" + "\n".join(f"│ {line}" for line in text.splitlines()) + "\n╵\n"
    for output in (text, boxed, text + LOCK.format(id="1" * 8 + LOCK_ID[8:], path="z", who="z")):
        lock = held_lock(output)
        assert lock is not None
        assert (lock.id, lock.path, lock.who) == (LOCK_ID, "states/k.tfstate", "root@runner-1")
        assert (lock.operation, lock.created) == ("OperationTypeApply", "2026-11-27 03:00:00.123456789 +0000 UTC")
    assert held_lock(LOCK.format(id="--help", path="k", who="w")) is None
    assert held_lock(f"Error: something else\n  ID:        {LOCK_ID}\n") is None


# Disks


RESET = (
    1,
    "Error: error configuring Terraform AWS Provider: sts:GetCallerIdentity: read: connection reset by peer\n",
)


def test_C1_an_apply_is_repeated_after_a_lost_connection_only_before_anything_was_asked_for(
    stand: Callable[..., Stand],
) -> None:
    s = stand(limits={"backoff": 7})
    run, script = s.stack_run(apply=[RESET, RESET, (0, "Apply complete!")])
    assert run.apply()["ok"]
    assert [said.split()[0] for said in script.said] == ["init", "apply", "apply", "apply"]
    assert s.cloud.time == 7 + 14
    assert "connection reset" in "".join(s.said)


@pytest.mark.parametrize(
    ("answer", "applies"),
    [
        (RESET, 3),
        ((1, f"aws_lb.this: Creating...\n{RESET[1]}"), 1),
        ((1, f"{RESET[1]}Error: InvalidGroup.Duplicate: it already exists\n"), 1),
        ((1, "Error: send request failed: dial tcp: lookup sts: no such host\n"), 1),
        ((1, "connection reset by peer\n"), 1),
    ],
)
def test_C1_no_apply_is_repeated_for_ever_nor_one_that_may_have_made_something(
    stand: Callable[..., Stand], answer: tuple[int, str], applies: int
) -> None:
    run, script = stand().stack_run(apply=[answer])
    assert not run.apply()["ok"]
    assert [said.split()[0] for said in script.said].count("apply") == applies


DUPLICATE = (1, "Error: [WARN] A duplicate Security Group rule was found on (sg-tasks)\n")


@pytest.mark.parametrize(
    ("attributes", "swept"),
    [
        (None, True),
        ("not an object", True),
        ({"security_group_id": "sg-tasks", "source_security_group_id": "sg-alb"}, False),
        ({"security_group_id": "sg-tasks", "referenced_security_group_id": "sg-alb"}, False),
        ({"security_group_id": "sg-tasks", "source_security_group_id": "sg-other"}, True),
        ({"security_group_id": "sg-alb", "source_security_group_id": "sg-tasks"}, True),
    ],
)
def test_C6_a_rule_that_terraform_does_not_know_goes_before_the_group_that_it_holds(
    stand: Callable[..., Stand], attributes: dict[str, str] | str | None, swept: bool
) -> None:
    s = stand()
    run, script = s.stack_run(apply=[DUPLICATE])
    assert not run.apply()["ok"]
    s.cloud.rules = [("sg-tasks", "sg-alb")]
    resource = {"instances": [{"attributes": attributes}, "x"] if attributes else None}
    state = {"resources": [resource, {"instances": "x"}, "x"]}
    (s.private / "stack" / "terraform.tfstate").write_text(json.dumps(state))
    there: list[bool] = []

    def before(command: str) -> None:
        if command == "destroy":
            there.append(bool(s.cloud.rules))
            s.cloud.rules = []

    script.before = before
    assert run.destroy()["gone"] and there[0] is not swept


def test_C1_an_interrupted_apply_is_not_repeated(stand: Callable[..., Stand]) -> None:
    run, script = stand().stack_run(apply=[RESET])
    script.before = lambda command: run.interrupt() if command == "apply" else None
    assert not run.apply()["ok"]
    assert [said.split()[0] for said in script.said].count("apply") == 1


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_C6_a_disk_that_is_full_in_the_teardown_keeps_nothing_alive(
    stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand()
    run, _script = made.stack_run(destroy=[OSError(errno.ENOSPC, "No space left on device")])
    run.apply()
    made.cloud.left = [BALANCER]
    monkeypatch.setattr(_run_settings, "write_durable", full)
    monkeypatch.setattr(_locks, "write_durable", full)
    monkeypatch.setattr(run.bundle, "append", full)
    result = run.destroy()
    assert made.cloud.left == []
    assert (result["ok"], result["gone"], result["swept"]) == (False, True, True)
    assert "No space left on device" in result["error"]
    assert any("terraform_destroy.log could not be written" in text for text in made.said)


def test_N1_nothing_is_created_when_it_cannot_be_written_down(
    stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand()
    run, script = made.stack_run()
    monkeypatch.setattr(_run_settings, "write_durable", full)
    result = run.apply()
    assert result["ok"] is False and "No space left on device" in result["error"]
    assert script.said == []


@pytest.mark.parametrize("what", ["state file", "private folder"])
def test_C6_a_run_whose_private_files_somebody_removed_is_still_taken_down(
    stand: Callable[..., Stand], what: str
) -> None:
    made = stand()
    first, _script = made.stack_run()
    first.apply()
    made.cloud.left = [BALANCER]
    if what == "state file":
        (made.private / "stack.json").unlink()
        run, _script = made.stack_run(destroy=[(1, "")])  # whoever comes later knows the bundle alone
    else:
        run = first
        shutil.rmtree(made.private)
    result = run.destroy()
    assert made.cloud.left == [] and result["gone"] is True and result["created"] is True
    assert made.lines()[-1]["meta"] == {"phase": "terraform destroy", "event": "end"}


def test_C6_a_state_that_cannot_be_read_is_not_an_empty_one(stand: Callable[..., Stand]) -> None:
    made = stand()
    run, script = made.stack_run()
    run.apply()
    (run.folder / "terraform.tfstate").write_text("{")
    assert run.destroy()["gone"] is True
    assert script.said[-1].startswith("destroy ")
    assert any("cannot be read" in text for text in made.said)


def test_C6_without_private_folder_and_guard_the_tags_lead_to_what_is_left(stand: Callable[..., Stand]) -> None:
    made = stand()
    made.cloud.left = [BALANCER]
    result = sweep_without_state(
        made.run, lambda: lambda service: None, 60, clock=made.cloud.clock, sleep=made.cloud.sleep
    )
    assert made.cloud.left == [] and (result["ok"], result["gone"]) == (False, True)
    assert made.cloud.sweeps[0][1] == Order("svc", frozenset({made.run["id"]}))
    assert made.item("swept.json")["deleted"][0]["id"] == BALANCER
    again = sweep_without_state(made.run, lambda: lambda service: None, 60)
    assert (again["ok"], again["swept"]) == (True, False)


# Networks and credentials


def test_C6_a_network_that_comes_back_after_a_minute_leaves_nothing(stand: Callable[..., Stand]) -> None:
    made = stand()
    run, _script = made.stack_run(destroy=[(1, "\nError: no route to host\n")])
    run.apply()
    made.cloud.left, made.cloud.away_until = [BALANCER], made.cloud.time + 60 + 15  # the attempts take 15 s of it
    result = run.destroy()
    assert made.cloud.left == [] and (result["ok"], result["gone"]) == (False, True)
    assert "no route to host" in result["error"] and "swept by its tags" in result["error"]
    assert len(made.cloud.sweeps) > 1
    assert made.item("swept.json")["rounds"] == len(made.cloud.sweeps)


def test_C6_a_network_that_never_comes_back_ends_in_bounded_time_and_is_not_gone(stand: Callable[..., Stand]) -> None:
    made = stand()
    run, _script = made.stack_run(destroy=[(1, "\nError: no route to host\n")])
    run.apply()
    made.cloud.left, made.cloud.away_until = [BALANCER], 1e9
    before = made.cloud.time
    result = run.destroy()
    assert result["gone"] is False and "EndpointConnectionError" in result["error"]
    assert made.cloud.time - before <= 15 + made.settings.limits.gone
    before = made.cloud.time
    assert run.destroy(patience=1e9)["gone"] is False
    assert made.settings.limits.sweep - 60 <= made.cloud.time - before - 15 <= made.settings.limits.sweep


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "AccessDenied"])
def test_C6_expired_credentials_end_it_at_once(stand: Callable[..., Stand], code: str) -> None:
    made = stand()
    run, _script = made.stack_run(destroy=[(1, f"\nError: api error {code}: no\n")])
    run.apply()
    made.cloud.left, made.cloud.refuses = [BALANCER], code
    result = run.destroy(patience=2000)
    assert result["gone"] is False and code in result["error"]
    assert len(made.cloud.sweeps) == 1 and made.cloud.time == 15  # the pauses between the attempts
    said = _run_gone.left_behind(result, run_id=made.run["id"], expires_at="2026-11-27T05:00:00Z", name="papyrus-x")
    assert "perhaps everything that is named papyrus-x" in said and "2026-11-27T05:00:00Z" in said
    assert f"ansible-playbook papyrus.ops.sweep -e papyrus_sweep_run_ids={made.run['id']} " in said


@pytest.mark.parametrize(
    ("errors", "hopeless"),
    [
        ([], True),
        (["DeleteLoadBalancer on x failed: OperationNotPermitted: no.", "it is kept, as load balancer x could"], True),
        (["DeleteLoadBalancer on x failed: Throttling: Rate exceeded."], False),
        (["AWS still holds it, by eni-1, and the time is over", "it is kept, as load balancer x could"], False),
        (["DeleteLoadBalancer on AccessDenied/ExpiredToken failed: Throttling: Rate exceeded."], False),  # its name
    ],
)
def test_C6_a_sweep_is_repeated_while_it_may_help(errors: list[str], hopeless: bool) -> None:
    assert _run_gone._hopeless(Swept(Found(), Found(), failed=[{"error": error} for error in errors])) is hopeless


def test_C6_credentials_that_are_renewed_are_taken(stand: Callable[..., Stand]) -> None:
    """A profile whose process could not answer for a while: each look makes clients anew."""
    made = stand()
    run, _script = made.stack_run(destroy=[(1, "\nError: no valid credential sources\n")])
    run.apply()
    made.cloud.left = [BALANCER]
    tried: list[float] = []

    def clients() -> Any:
        tried.append(made.cloud.time)
        if made.cloud.time < 40:
            raise AwsFailure("the process ended with 1", code="CredentialRetrievalError")
        return lambda service: None

    run._rest._clients = clients
    assert run.destroy()["gone"] is True and made.cloud.left == []
    assert len(tried) > 3


def test_C6_a_fault_of_ours_in_the_sweep_is_not_repeated(
    stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand()
    run, _script = made.stack_run(destroy=[(1, "")])
    run.apply()
    made.cloud.left = [BALANCER]
    monkeypatch.setattr(_run_gone, "sweep", lambda *_, **__: 1 / 0)
    before = made.cloud.time
    result = run.destroy(patience=2000)
    assert result["gone"] is False and BALANCER in result["error"]
    assert made.cloud.time - before == 15
    assert made.item("swept.json")["error"] == "division by zero"
    assert os.path.exists(made.run["folder"])
