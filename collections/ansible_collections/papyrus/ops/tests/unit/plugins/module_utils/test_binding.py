# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The identity chain: it holds when every value fits, and each broken link is named with both values (N2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._binding import (
    Answer,
    Binding,
    Image,
    Look,
    Released,
    Tally,
    compare,
    judge_answers,
)
from ansible_collections.papyrus.ops.plugins.module_utils._poller import Done, GoOn, Hopeless
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.binding_shapes import (
    CONFIG,
    IMAGE,
    INDEX,
    OTHER,
    PLATFORM,
    PORT,
    REPOSITORY,
    URL,
    answer,
    facts,
    interface,
    look,
    tally,
    target,
    task,
)


def broken(made: Binding, link: str, *words: str) -> None:
    """The chain fails, names this link, and the reason has every word."""
    assert made.status == "ng", made.reason
    assert f"{link}: " in made.reason, made.reason
    for word in words:
        assert word in made.reason, made.reason


@pytest.mark.parametrize("numbers", [(1,), (1, 2)])
def test_N2_every_link_of_every_running_task_holds(numbers: tuple[int, ...]) -> None:
    made = compare(facts(*numbers))
    assert made.status == "ok", made.reason
    assert list(made.chains) == [shapes.task_arn(number) for number in numbers]
    for links in made.chains.values():
        assert [link.link for link in links] == ["registry", "revision", "container", "interface", "target", "answer"]
    assert made.reason == f"{len(numbers)} of {len(numbers)} running tasks tied to sha256:aaaaaaaaaaaa; " + (
        f"{len(numbers)} targets gave {len(numbers)} answers"
    )


@pytest.mark.parametrize("name", [INDEX, PLATFORM, CONFIG])
def test_N2_index_platform_and_configuration_are_names_of_one_image(name: str) -> None:
    seen = look(1, tasks=(task(image_digest=name),))
    assert compare(facts(first=seen, last=seen, registered=seen.tasks)).status == "ok"
    assert compare(facts(answers=tally(answer(image=name)))).status == "ok"


def test_N2_a_stopped_task_that_still_answers_is_named_with_its_end() -> None:
    said = {shapes.task_arn(9): "is STOPPED: Scaling activity initiated by deployment"}
    made = compare(facts(answers=tally(answer(), answer(9)), strangers=said))
    broken(made, "answer", f"{9:032x} answers, which is STOPPED: Scaling activity", f"running tasks are {1:032x}")


def test_N2_an_answer_of_a_task_that_nobody_knows_is_named() -> None:
    made = compare(facts(answers=tally(answer(), answer(task="arn:forged/\x1b[2Jtask"))))
    broken(made, "answer", "\\x1b[2Jtask answers, which is not known to ECS")


def test_N2_two_images_behind_one_load_balancer_are_both_named() -> None:
    made = compare(facts(answers=tally(answer(), answer(9, OTHER))))
    broken(made, "answer", "2 images answer behind one load balancer", "sha256:aaaaaaaaaaaa", "sha256:ffffffffffff")


def test_N2_the_names_of_one_image_are_not_taken_for_two() -> None:
    assert compare(facts(1, 2, answers=tally(answer(1, INDEX), answer(2, PLATFORM)))).status == "ok"


def test_N2_a_target_that_never_answered_is_named() -> None:
    made = compare(facts(1, 2, answers=tally(answer(1), Answer(None, None, 0, "", URL, "connection refused"))))
    broken(made, "answer", f"task {2:032x} at 10.20.0.2:5000 has not answered in 2 requests (connection refused)")


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"task": None, "image": None}, "X-Papyrus-Task, X-Papyrus-Image"),
        ({"image": None}, "X-Papyrus-Image"),
        ({"task": None}, "X-Papyrus-Task"),
        ({"image": ""}, "X-Papyrus-Image"),
    ],
)
def test_N2_missing_headers_fail(given: dict[str, Any], lacks: str) -> None:
    made = compare(facts(answers=tally(answer(), answer(**given))))
    broken(made, "answer", f"1 answers (200 from a:80) lack {lacks}")


def test_N2_without_names_of_headers_the_answers_are_skipped_with_the_reason() -> None:
    made = compare(facts(headers=None, answers=Tally()))
    assert made.status == "skip"
    assert "papyrus_identity_headers is empty" in made.reason
    assert [link.link for link in made.chains[shapes.task_arn(1)]][-1] == "target"


def test_N2_a_task_that_answers_with_another_image_than_it_runs() -> None:
    made = compare(facts(answers=tally(answer(image=OTHER))))
    broken(made, "answer", "answers as sha256:ffffffffffff, its container runs sha256:aaaaaaaaaaaa")


def test_N2_a_container_of_another_digest_than_the_definition_names() -> None:
    seen = look(1, tasks=(task(image_digest=OTHER),))
    made = compare(facts(first=seen, last=seen, registered=seen.tasks, answers=tally(answer(image=OTHER))))
    broken(made, "container", "runs sha256:ffffffffffff, the task definition names sha256:aaaaaaaaaaaa")


def test_N2_a_wrong_container_that_claims_the_right_image_is_found_out() -> None:
    seen = look(1, tasks=(task(image_digest=OTHER),))
    made = compare(facts(first=seen, last=seen, registered=seen.tasks))
    broken(made, "answer", "answers as sha256:aaaaaaaaaaaa, its container runs sha256:ffffffffffff")


def test_N2_a_container_without_a_digest_is_not_taken_for_right() -> None:
    seen = look(1, tasks=(task(image_digest=""),))
    broken(compare(facts(first=seen, last=seen, registered=seen.tasks)), "container", "an image without a digest")


def test_N2_a_task_of_another_revision_than_the_service_serves() -> None:
    old = shapes.DEFINITION.replace(":7", ":6")
    seen = look(1, tasks=(task(task_definition=old),))
    made = compare(facts(first=seen, last=seen, registered=seen.tasks))
    broken(made, "revision", "runs papyrus-task:6, the service serves papyrus-task:7")


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "EC2 does not know eni-1"),
        ({"eni-1": interface(PrivateIpAddress="10.20.9.9")}, "eni-1 has 10.20.9.9, ECS says 10.20.0.1"),
        ({"eni-1": interface(Status="available")}, "is available in EC2, not in-use"),
        (
            {"eni-1": interface(Description="arn:aws:ecs:us-west-2:1:attachment/other")},
            "attached as other, ECS says attachment-1",
        ),
    ],
)
def test_N2_ec2_says_otherwise_of_the_interface(known: dict[str, Any], words: str) -> None:
    seen = look(1, interfaces=known)
    broken(compare(facts(first=seen, last=seen)), "interface", words)


def test_N2_an_interface_described_otherwise_than_by_its_attachment_is_judged_by_its_address() -> None:
    seen = look(1, interfaces={"eni-1": interface(Description="")})
    assert compare(facts(first=seen, last=seen)).status == "ok"


def test_N2_a_running_task_that_is_not_registered() -> None:
    seen = look(1, 2, targets=(target(1),))
    made = compare(facts(1, 2, first=seen, last=seen))
    broken(made, "target", f"task {2:032x} at 10.20.0.2:5000 is not registered", "registered is 10.20.0.1:5000")


def test_N2_a_target_that_is_not_healthy() -> None:
    seen = look(1, targets=(target(1, "unhealthy", "Target.Timeout"),))
    broken(compare(facts(first=seen, last=seen)), "target", "10.20.0.1:5000 unhealthy (Target.Timeout)")


def test_N2_a_target_of_another_task_behind_the_load_balancer() -> None:
    seen = look(1, targets=(target(1), target(9)))
    made = compare(facts(first=seen, last=seen))
    broken(made, "target", "10.20.0.9:5000 is registered", "none of the service's", "its tasks are 10.20.0.1:5000")


def test_N2_a_task_replaced_in_the_middle_is_said_so() -> None:
    said = {shapes.task_arn(1): "is STOPPED: TaskFailedToStart"}
    after = look(2, targets=(target(1), target(2)))
    made = compare(facts(last=after, answers=tally(answer(1), answer(2)), strangers=said))
    broken(made, "task", f"task {1:032x} was replaced in the meantime: it is STOPPED", f"instead {2:032x} runs")
    broken(made, "target", "was task 00000000000000000000000000000001's, which does not run any more")


def test_N2_a_task_replaced_before_the_first_look_is_found_by_the_registration() -> None:
    seen = look(2, left_out={shapes.task_arn(1): "is stopping (DEACTIVATING): Scaling activity"})
    made = compare(facts(2, first=seen, last=seen, registered=(task(1),)))
    broken(made, "task", "was replaced in the meantime: it is stopping (DEACTIVATING)")


def test_N2_a_task_that_was_started_after_the_registration() -> None:
    made = compare(facts(1, 2, registered=(task(1),), first=look(1)))
    broken(made, "task", f"task {2:032x} was started after the targets were registered")


def test_N2_the_same_task_with_another_address_is_not_the_same() -> None:
    made = compare(facts(registered=(task(1, ip="10.20.7.7"),)))
    broken(made, "task", "had ip 10.20.7.7, now it is 10.20.0.1")


def test_N2_no_running_task_is_no_chain_that_holds() -> None:
    seen = look(targets=())
    made = compare(facts(first=seen, last=seen, registered=(), answers=Tally()))
    broken(made, "task", "no task of the service runs")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"deployments": 2}, "2 deployments are in flight"),
        ({"task_definition": f"{shapes.DEFINITION}0"}, "went from papyrus-task:7 to papyrus-task:70"),
    ],
)
def test_N2_a_rollout_in_the_middle(changes: dict[str, Any], words: str) -> None:
    broken(compare(facts(last=look(1, **changes))), "service", words)


def test_N2_targets_that_changed_during_the_requests() -> None:
    broken(compare(facts(first=look(1, targets=(target(1), target(5))))), "target", "10.20.0.5:5000", "in the meantime")


@pytest.mark.parametrize("digest", [PLATFORM, INDEX])
def test_N2_the_released_image_may_be_named_by_index_or_platform(digest: str) -> None:
    released = Released(digest, INDEX, shapes.DEFINITION)
    assert compare(facts(released=released)).status == "ok"


@pytest.mark.parametrize(
    ("released", "link", "words"),
    [
        (Released(digest=OTHER), "released image", "sha256:ffffffffffff was released, the task definition names"),
        (Released(digest=CONFIG), "released image", "sha256:dddddddddddd was released"),
        (Released(index_digest=OTHER), "released index", "index sha256:ffffffffffff was released"),
        (Released(task_definition=f"{shapes.DEFINITION}1"), "released revision", "papyrus-task:71 was released"),
    ],
)
def test_N2_what_was_released_is_not_what_serves(released: Released, link: str, words: str) -> None:
    broken(compare(facts(released=released)), link, words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": OTHER}, "names sha256:aaaaaaaaaaaa, the registry answers with sha256:ffffffffffff"),
        ({"missing": "ECR does not have it (ImageNotFound)"}, "but ECR does not have it (ImageNotFound)"),
    ],
)
def test_N2_the_registry_does_not_have_what_the_definition_names(changes: dict[str, str], words: str) -> None:
    broken(compare(facts(image=replace(IMAGE, **changes))), "registry", words)


def test_N2_a_registry_that_is_not_asked_makes_the_chain_skip_never_ok() -> None:
    image = Image("docker.io/papyrus@" + PLATFORM, PLATFORM, unasked="the image lies in docker.io, which is not asked")
    made = compare(facts(image=image))
    assert made.status == "skip"
    assert "docker.io" in made.reason


def test_N2_a_tag_of_a_registry_that_is_not_asked_says_nothing_of_the_container() -> None:
    made = compare(facts(image=Image("papyrus:latest", unasked="not asked")))
    assert made.status == "skip"
    assert "nothing says which digest papyrus:latest has" in made.reason


def test_N2_a_tag_is_compared_by_what_it_names_now_and_called_movable() -> None:
    image = replace(IMAGE, reference=f"{REPOSITORY}:1f0c2d3", pinned="")
    made = compare(facts(image=image))
    assert made.status == "ok"
    assert "a tag, which can be moved" in made.chains[shapes.task_arn(1)][0].text
    moved = replace(image, digest=OTHER, platform=OTHER, index="", config="")
    broken(compare(facts(image=moved)), "container", "runs sha256:aaaaaaaaaaaa, the task definition names sha256:ffff")


def test_N2_the_evidence_has_both_values_of_every_link_in_full() -> None:
    made = compare(facts(answers=tally(answer(image=OTHER)))).as_dict()
    wrong = [link for link in made["chains"][0]["links"] if link["status"] == "ng"]
    assert [(link["link"], link["expected"], link["found"]) for link in wrong] == [("answer", PLATFORM, OTHER)]


# When to stop asking


def judge(seen: Look, *answers: Answer, least: int = 1, most: int = 10) -> Any:
    return judge_answers(seen, tally(*answers), PORT, least=least, most=most)


def test_N2_asking_ends_when_every_target_has_answered_and_not_before() -> None:
    assert isinstance(judge(look(1, 2), answer(1), answer(1)), GoOn)
    assert isinstance(judge(look(1, 2), answer(1), answer(2)), Done)
    assert isinstance(judge(look(1), answer(1), least=2), GoOn)
    assert isinstance(judge(look(1), answer(1), answer(1), least=2), Done)


def test_N2_asking_ends_at_its_bound_and_names_who_is_silent() -> None:
    made = judge(look(1, 2), *[answer(1)] * 10)
    assert isinstance(made, Hopeless)
    assert made.reason == f"no answer of {2:032x} in 10 requests"


def test_N2_a_target_of_nobody_is_given_the_chance_to_show_itself() -> None:
    seen = look(1, targets=(target(1), target(9)))
    assert isinstance(judge(seen, answer(1)), GoOn)
    assert isinstance(judge(seen, answer(1), answer(9)), Done)
