# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service in order as the identity chain sees it; tests break one link each."""

from __future__ import annotations

from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._binding import Answer, Facts, Image, Look, Tally
from ansible_collections.papyrus.ops.plugins.module_utils._targets import TargetState
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes

PORT = 5000
INDEX, PLATFORM, CONFIG, OTHER = (f"sha256:{letter * 64}" for letter in "badf")
REPOSITORY = "123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus"
IMAGE = Image(f"{REPOSITORY}@{PLATFORM}", PLATFORM, PLATFORM, INDEX, PLATFORM, CONFIG)
HEADERS = ("X-Papyrus-Task", "X-Papyrus-Image")
URL = "http://alb/healthz"


def task(number: int = 1, **changes: Any) -> dict[str, Any]:
    made = {
        "task_arn": shapes.task_arn(number),
        "ip": f"10.20.0.{number}",
        "eni": f"eni-{number}",
        "image_digest": PLATFORM,
        "task_definition": shapes.DEFINITION,
    }
    return {**made, **changes}


def interface(number: int = 1, **changes: Any) -> dict[str, Any]:
    made = {
        "PrivateIpAddress": f"10.20.0.{number}",
        "Status": "in-use",
        "Description": f"arn:aws:ecs:us-west-2:123456789012:attachment/attachment-{number}",
    }
    return {**made, **changes}


def target(number: int = 1, state: str = "healthy", reason: str = "") -> TargetState:
    return TargetState(f"10.20.0.{number}", PORT, state, reason)


def look(*numbers: int, **changes: Any) -> Look:
    made: dict[str, Any] = {
        "at": "2026-01-31T12:00:00Z",
        "task_definition": shapes.DEFINITION,
        "tasks": tuple(task(number) for number in numbers),
        "targets": tuple(target(number) for number in numbers),
        "interfaces": {f"eni-{number}": interface(number) for number in numbers},
        "attachments": {shapes.task_arn(number): f"attachment-{number}" for number in numbers},
    }
    return Look(**{**made, **changes})


def answer(number: int = 1, image: str | None = PLATFORM, **changes: Any) -> Answer:
    return Answer(
        **{"task": shapes.task_arn(number), "image": image, "status": 200, "remote": "a:80", "url": URL, **changes}
    )


def tally(*answers: Answer) -> Tally:
    made = Tally()
    for given in answers:
        made.add(given)
    return made


def facts(*numbers: int, **changes: Any) -> Facts:
    seen = look(*(numbers or (1,)))
    made: dict[str, Any] = {
        "image": IMAGE,
        "registered": seen.tasks,
        "first": seen,
        "last": seen,
        "answers": tally(*(answer(number) for number in numbers or (1,))),
        "port": PORT,
        "headers": HEADERS,
    }
    return Facts(**{**made, **changes})
