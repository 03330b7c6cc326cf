# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard against real processes: a controller that is killed, a terraform that takes its time (C6, C7, N1)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._guard_socket import Client, GuardError
from ansible_collections.papyrus.ops.plugins.module_utils._run_alb import AlbFailure, remove, start, wait_present
from ansible_collections.papyrus.ops.plugins.module_utils._run_close import CloseError, NotSealed, close_run
from aws_endpoint import AwsEndpoint
from guard_scene import Scene, until
from sealing import seal_says

ALB = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke/50dc6c495c0c9188"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_C6_controller_ends_during_apply(scene: Callable[..., Scene], endpoint: AwsEndpoint, number: int) -> None:
    run = scene(FAKE_TF_APPLY_SECONDS="60", FAKE_TF_ALB_ARN=ALB)
    opened = run.open()
    assert start(opened)["changed"]
    until(lambda: any(event.startswith("variables") for event in run.events), "apply is under way")

    run.end_controller(number)
    until(lambda: not Path(opened["private"]).exists(), "the guard has taken the run down")

    assert run.events.count("signal SIGINT") == 1
    assert not [event for event in run.events if event.startswith("signal") and event != "signal SIGINT"]
    assert run.events[-1] == "end destroy 0"
    verdict = run.verdict()
    assert verdict["result"] == "FAILED"
    assert "terraform apply" in verdict["first_failure"]["cause"]
    assert verdict["gone"] == "ok"
    names = [line["name"] for line in run.lines()]
    for name in (
        "run.json", "lease.json", "terraform_apply.log", "terraform.tfstate", "terraform_outputs.json",
        "terraform_destroy.log", "alb_sg_leftover.json", "alb_sg_delete.log", "alb_sg_verify_gone.json",
    ):  # fmt: skip
        assert name in names, names
    gone = json.loads(run.item("alb_sg_verify_gone.json"))
    assert gone["gone"] is True
    assert {"answer": "LoadBalancerNotFound"}.items() <= next(
        entry for entry in gone["described"] if entry["parameters"].get("LoadBalancerArns") == [ALB]
    ).items()
    assert json.loads((Path(opened["ledger"]) / f"{opened['id']}.closed.json").read_text())["result"] == "FAILED"
    statement = run.sealed()
    assert statement["predicate"]["result"] == "FAILED"
    assert statement["predicate"]["failedTests"][0] == "C6 run C6"
    says = seal_says(statement)
    assert (says["by"], says["afterCrash"], says["trust"]) == ("guard", True, "self-asserted")
    assert "controller" in says["note"]
    until(lambda: not run.left_over(), "no process is left")
    said = (run.folder / "stderr").read_text()
    assert f"{opened['id']} ended FAILED, sealed; everything it created is gone." in said and opened["folder"] in said


def test_C6_controller_ends_during_destroy_which_then_simply_ends(scene: Callable[..., Scene]) -> None:
    run = scene(FAKE_TF_DESTROY_SECONDS="2")
    opened = run.open()
    wait_present(opened, 90)
    Client(opened["private"]).ask("destroy")
    until(lambda: "destroying" in run.events, "destroy is under way")
    run.end_controller(signal.SIGKILL)
    until(lambda: not Path(opened["private"]).exists(), "the guard has completed the run")
    assert not [event for event in run.events if event.startswith("signal")]
    assert run.events.count("destroying") == 1 and run.events[-1] == "end destroy 0"
    assert run.verdict()["result"] == "FAILED" and run.verdict()["gone"] == "ok"
    assert [line["name"] for line in run.lines()].count("terraform_destroy.log") == 1


def test_C6_controller_ends_before_anything_was_created(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    run.end_controller(signal.SIGKILL)
    until(lambda: not Path(opened["private"]).exists(), "the guard has completed the run")
    assert not [event for event in run.events if event.startswith(("apply", "destroy"))]
    assert "before its first phase" in run.verdict()["first_failure"]["cause"]
    assert run.sealed()["predicate"]["result"] == "FAILED"
    until(lambda: not run.left_over(), "no process is left")
    until(lambda: "made nothing that would go away with it" in (run.folder / "stderr").read_text(), "the guard says so")


def test_C2_variables_are_private_and_only_of_this_run(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    result = wait_present(opened, 90)
    assert Path(opened["private"]).stat().st_mode & 0o777 == 0o700
    assert "variables 0o600 ['expires_at', 'header_value', 'name', 'run_id', 'vpc_id']" in run.events
    assert not (Path(opened["private"]) / "stack" / "somebody.auto.tfvars").exists()
    assert result["changed"] and not any("headerheader" in event for event in run.events)


def test_C6_destroy_that_fails_once_is_tried_again_and_the_run_closes(scene: Callable[..., Scene]) -> None:
    run = scene(FAKE_TF_DESTROY_FAILURES="1")
    opened = run.open()
    wait_present(opened, 90)
    removed = remove(opened, 120)
    assert [attempt["ok"] for attempt in removed["attempts"]] == [False, True]
    assert "DependencyViolation" in removed["attempts"][0]["error"]
    closed = close_run(opened, {}, [])
    assert closed["verdict"]["result"] == "PASSED", closed["text"]
    until(lambda: not Path(opened["private"]).exists(), "the private folder is gone")
    run.end_controller(signal.SIGTERM)
    assert run.verdict() == closed["verdict"]
    assert seal_says(run.sealed())["by"] == "run" and closed["sealed"]["trust"] == "self-asserted"


def test_C6_destroy_that_fails_always_names_what_is_left(scene: Callable[..., Scene], endpoint: AwsEndpoint) -> None:
    run = scene(FAKE_TF_DESTROY_FAILURES="9")
    opened = run.open()
    wait_present(opened, 90)
    arn = f"arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/{opened['name']}/50dc6c495c0c9188"
    endpoint.left[arn] = opened["tags"]
    endpoint.refuse.add("DeleteLoadBalancer")
    with pytest.raises(AlbFailure) as failed:
        remove(opened, 120)
    result = failed.value.result
    assert len(result["attempts"]) == 3 and result["gone"] is False
    assert f"aws elbv2 delete-load-balancer --region us-west-2 --load-balancer-arn {arn}" in result["by_hand"]
    assert "aws_security_group.alb" in str(failed.value) and "DependencyViolation" in str(failed.value)
    assert f"ansible-playbook papyrus.ops.sweep -e papyrus_sweep_run_ids={opened['id']}" in str(failed.value)
    assert f"its lease ends at {opened['expires_at']}" in str(failed.value)
    assert json.loads(run.item("swept.json"))["failed"][0]["id"] == arn
    closed = close_run(opened, {"step": "D1", "task": "Ask every path", "cause": "/healthz answered 500"}, [])
    assert closed["verdict"]["first_failure"]["cause"] == "/healthz answered 500"
    assert run.sealed()["predicate"]["failedTests"][0] == "D1 run D1"
    assert "DependencyViolation" in closed["verdict"]["failed_destroy"]["cause"]


def test_C6_what_a_failed_destroy_leaves_is_swept_and_the_destroy_stays_a_failure(
    scene: Callable[..., Scene], endpoint: AwsEndpoint
) -> None:
    run = scene(FAKE_TF_DESTROY_FAILURES="9")
    opened = run.open()
    wait_present(opened, 90)
    arn = f"arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/{opened['name']}/50dc6c495c0c9188"
    foreign = arn.replace(opened["name"], "papyrus-smoke-other2")
    endpoint.left |= {arn: opened["tags"], foreign: {**opened["tags"], "papyrus:run-id": "20260101T000000Z-other2"}}
    with pytest.raises(AlbFailure, match="swept by its tags, nothing is there any more") as failed:
        remove(opened, 120)
    assert (failed.value.result["gone"], failed.value.result["swept"]) == (True, True)
    assert "LEFT BEHIND" not in str(failed.value)
    assert list(endpoint.left) == [foreign]
    proofs = [line["status"] for line in run.lines() if line["name"] == "alb_sg_verify_gone.json"]
    assert proofs == ["ng", "ok"]
    assert b"DeleteLoadBalancer" in run.item("alb_sg_delete.log")
    verdict = close_run(opened, {}, [])["verdict"]
    assert (verdict["result"], verdict["gone"]) == ("FAILED", "ok")
    assert "DependencyViolation" in verdict["failed_destroy"]["cause"]


def test_C6_load_balancer_that_terraform_lost_is_deleted_by_its_tags(
    scene: Callable[..., Scene], endpoint: AwsEndpoint
) -> None:
    run = scene(FAKE_TF_APPLY_ERROR="\nError: killed\n")
    opened = run.open()
    arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/{}/50dc6c495c0c9188"
    lost, of_another_run = arn.format(opened["name"]), arn.format("papyrus-smoke-other2")
    endpoint.left[lost] = opened["tags"]
    endpoint.left[of_another_run] = {**opened["tags"], "papyrus:run-id": "20260101T000000Z-other2"}
    with pytest.raises(AlbFailure):
        wait_present(opened, 90)
    assert remove(opened, 120)["gone"] is True
    assert list(endpoint.left) == [of_another_run]
    assert [resource["id"] for resource in json.loads(run.item("swept.json"))["deleted"]] == [lost]
    assert close_run(opened, {"step": "C1", "task": "Wait", "cause": "killed"}, [])["verdict"]["result"] == "FAILED"


def test_J1_a_run_that_could_not_be_sealed_is_sealed_by_its_guard_when_the_playbook_ends(
    scene: Callable[..., Scene],
) -> None:
    run = scene()
    opened = run.open()
    wait_present(opened, 90)
    remove(opened, 120)
    key = run.folder / "key.pem"
    key.rename(run.folder / "away.pem")
    failure = {"step": "D1", "task": "Ask every path", "cause": "/healthz answered 500"}
    with pytest.raises(NotSealed) as failed:
        close_run(opened, failure, [])
    assert "/healthz answered 500" in str(failed.value) and "There is no signing key" in str(failed.value)
    assert "papyrus.ops.evidence_seal" in str(failed.value)
    assert not list(Path(opened["ledger"]).glob("*.closed.json"))
    assert not (Path(opened["folder"]) / "SHA256SUMS").exists()
    (run.folder / "away.pem").rename(key)
    run.end_controller(signal.SIGTERM)
    until(lambda: not Path(opened["private"]).exists(), "the guard has ended")
    statement = run.sealed()
    assert run.verdict()["first_failure"]["cause"] == "/healthz answered 500"
    assert (seal_says(statement)["by"], seal_says(statement)["afterCrash"]) == ("guard", False)


def test_J1_a_guard_that_cannot_seal_says_so_and_leaves_no_secret(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    (run.folder / "key.pem").unlink()
    run.end_controller(signal.SIGKILL)
    until(lambda: not Path(opened["private"]).exists(), "the guard has ended")
    until(lambda: "NOT SEALED: There is no signing key" in (run.folder / "stderr").read_text(), "the guard says so")
    assert run.verdict()["result"] == "FAILED"
    assert not list(Path(opened["ledger"]).glob("*.closed.json"))


def test_C7_a_describe_that_fails_is_never_gone(scene: Callable[..., Scene], endpoint: AwsEndpoint) -> None:
    run = scene()
    opened = run.open()
    wait_present(opened, 90)
    endpoint.refuse.add("DescribeNetworkInterfaces")
    with pytest.raises(AlbFailure, match="AccessDenied"):
        remove(opened, 120)
    assert json.loads(run.item("alb_sg_verify_gone.json"))["gone"] is False
    assert close_run(opened, {}, [])["verdict"]["result"] == "FAILED"


def test_C6_guard_killed_during_apply_is_replaced_by_the_module(scene: Callable[..., Scene]) -> None:
    run = scene(FAKE_TF_APPLY_SECONDS="60")
    opened = run.open()
    start(opened)
    until(lambda: any(event.startswith("variables") for event in run.events), "apply is under way")
    os.kill(run.guard.pid, signal.SIGKILL)
    until(lambda: not run.guard.alive(), "the guard is dead")
    with pytest.raises(AlbFailure, match="nothing is created without the guard"):
        start(opened)
    removed = remove(opened, 120)
    assert removed["guard"] == "dead" and removed["gone"] is True
    assert run.events.count("signal SIGINT") == 1
    assert run.events[-1] == "end destroy 0"
    closed = close_run(opened, {"step": "C1", "task": "Wait", "cause": "the guard died"}, [])
    assert closed["verdict"]["result"] == "FAILED"
    assert not Path(opened["private"]).exists()


def test_C1_apply_error_names_resource_and_aws_error(scene: Callable[..., Scene]) -> None:
    error = (
        "\nError: error creating ELBv2 Listener: AccessDenied: no\n\tstatus code: 403, request id: 77\n\n"
        '  with aws_lb_listener.this,\n  on main.tf line 90, in resource "aws_lb_listener" "this":\n'
    )
    run = scene(FAKE_TF_APPLY_ERROR=error)
    opened = run.open()
    with pytest.raises(AlbFailure) as failed:
        wait_present(opened, 90)
    assert "aws_lb_listener.this: error creating ELBv2 Listener: AccessDenied: no" in failed.value.result["cause"]
    assert failed.value.result["step"] == "C1"
    with pytest.raises(CloseError, match="not removed"):
        close_run(opened, {}, [])
    assert remove(opened, 120)["gone"] is True


def test_C6_guard_told_to_stop_takes_the_run_down(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    wait_present(opened, 90)
    os.kill(run.guard.pid, signal.SIGTERM)
    until(lambda: not Path(opened["private"]).exists(), "the guard has ended")
    assert run.verdict()["result"] == "FAILED" and "SIGTERM" in run.verdict()["first_failure"]["cause"]
    assert seal_says(run.sealed())["afterCrash"] is False
    assert run.events[-1] == "end destroy 0"


def test_C6_a_deep_temporary_folder_does_not_matter(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scene()
    deep = run.private_root / ("d" * 120)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    opened = run.open()
    assert len(opened["socket"]) > 120
    assert wait_present(opened, 90)["changed"] and remove(opened, 120)["gone"]


def test_C6_signals_of_the_terminal_do_not_end_the_guard(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(run.guard.pid, number)
    assert Client(opened["private"]).ask("status")["pid"] == run.guard.pid


def test_N1_nothing_is_created_without_a_lease(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    (Path(opened["ledger"]) / f"{opened['id']}.opened.json").unlink()
    with pytest.raises(AlbFailure, match="not announced in the ledger"):
        wait_present(opened, 90)
    assert not [event for event in run.events if event.startswith("apply")]
    assert remove(opened, 120)["attempts"] == []


def test_C1_name_that_aws_refuses_creates_nothing(scene: Callable[..., Scene]) -> None:
    run = scene()
    run.options["stack"]["name_prefix"] = "a-prefix-that-is-far-too-long-for-it"
    opened = run.open()
    with pytest.raises(AlbFailure, match="AWS allows 32"):
        wait_present(opened, 90)
    assert remove(opened, 120)["gone"] is True
    assert close_run(opened, {}, [])["verdict"]["first_failure"]["step"] == "C1"


def test_C6_two_runs_share_nothing_and_no_request_after_the_end(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    remove(opened, 120)
    with pytest.raises(AlbFailure, match="has been destroyed"):
        start(opened)
    with pytest.raises(GuardError, match="unknown request"):
        Client(opened["private"]).ask("shell")
