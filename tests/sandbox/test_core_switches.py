"""Switches and taken-out behaviours: set, shown, refused when they make no sense."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.sandbox.support import CHECKOUT, PYTHON, Sandbox, open_folder


def test_switches_are_shown_set_and_set_back(sandbox: Sandbox) -> None:
    off = json.loads(sandbox.http("GET", "/_sandbox/switches")[2])
    assert off["iam"] is False
    with sandbox.switched(dns_seconds=3, alb_interface_seconds=1.5):
        now = json.loads(sandbox.http("GET", "/_sandbox/switches")[2])
        assert now == {**off, "dns_seconds": 3.0, "alb_interface_seconds": 1.5}
    assert json.loads(sandbox.http("GET", "/_sandbox/switches")[2]) == off


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "an object"),
        ({"ian": True}, "unknown switches: ian; there are iam"),
        ({"iam": 1}, "`iam` is true or false"),
        ({"dns_seconds": -1}, "`dns_seconds` is a number from 0"),
        ({"dns_seconds": True}, "`dns_seconds` is a number from 0"),
        ({"dns_seconds": "1"}, "`dns_seconds` is a number from 0"),
    ],
)
def test_a_switch_that_makes_no_sense_changes_nothing(sandbox: Sandbox, document: object, says: str) -> None:
    before = sandbox.http("GET", "/_sandbox/switches")[2]
    status, _, body = sandbox.http("PUT", "/_sandbox/switches", json.dumps(document).encode())
    assert status == 400
    assert says in json.loads(body)["message"]
    assert sandbox.http("GET", "/_sandbox/switches")[2] == before


def test_a_behaviour_that_does_not_exist_cannot_be_taken_out() -> None:
    with open_folder() as root:
        done = subprocess.run(
            [str(PYTHON), "-m", "sandbox", "serve"],
            cwd=CHECKOUT,
            env={**os.environ, "PAPYRUS_SANDBOX_ROOT": str(root), "PAPYRUS_SANDBOX_WITHOUT": "ecs.no_such_thing"},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stderr.endswith("cannot start: no behaviour is named ecs.no_such_thing\n")
