"""The identity chain from the digest in ECR to the answer holds for one and two tasks, and each lie is found (N2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .balancers import Balancer, addresses, binding_options, run_module
from .services import CLUSTER, SERVICE, Services, permanent_service, until

FORGING = (
    "from papyrus import create_app\n"
    "from werkzeug.serving import run_simple\n"
    "app, forged = create_app(), {forged}\n"
    "def forging(environ, start):\n"
    "    def begin(status, headers, *more):\n"
    "        kept = [pair for pair in headers if not pair[0].startswith('X-Papyrus-')]\n"
    "        return start(status, kept + forged, *more)\n"
    "    return app(environ, begin)\n"
    "run_simple('0.0.0.0', 5000, forging, threaded=True)\n"
)


def forging(*headers: tuple[str, str]) -> dict[str, Any]:
    """Members of a container with the app, whose identity headers are these instead of its own."""
    return {"command": ["python", "-c", FORGING.format(forged=list(headers))]}


def permanent_identity() -> tuple[str, str]:
    """Task and image digest of the permanent service's running task."""
    ecs = harness.client("ecs")
    arns = ecs.list_tasks(cluster=CLUSTER, serviceName=SERVICE)["taskArns"]
    task = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"][0]
    return task["taskArn"], task["containers"][0]["imageDigest"]


def chain_of(folder: Path, balancer: Balancer, service: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What run_binding says of a service behind the balancer."""
    return run_module(folder, "run_binding", binding_options(balancer, service["papyrus_service"], **more))


@pytest.fixture(name="two", scope="module")
def _two(services: Services) -> dict[str, Any]:
    return services.service("pair", desired=2)


def test_N2_both_tasks_of_a_service_are_tied_to_the_digest_in_ecr(
    tmp_path: Path, services: Services, two: dict[str, Any]
) -> None:
    balancer = Balancer(services)
    balancer.register(*addresses(two))
    digest = permanent_identity()[1]
    result = chain_of(tmp_path, balancer, two, released={"digest": digest})
    assert result["status"] == "ok", result["reason"]
    chains = result["binding"]["chains"]
    assert {chain["task_arn"] for chain in chains} == {t["taskArn"] for t in Services.running(two["papyrus_service"])}
    assert [link["found"] for chain in chains for link in chain["links"] if link["link"] == "answer"] == [digest] * 2
    assert {answer["task"] for answer in result["binding"]["answers"]} == {chain["task_arn"] for chain in chains}


def test_N2_a_target_of_another_task_with_another_image_is_found_twice(
    tmp_path: Path, services: Services, two: dict[str, Any]
) -> None:
    balancer = Balancer(services)
    image, other = services.image()
    stranger = services.service("stranger", container={"image": image})
    balancer.register(*addresses(two), *addresses(stranger))
    result = chain_of(tmp_path, balancer, two)
    assert result["status"] == "ng", result
    [address], [task] = addresses(stranger), Services.running(stranger["papyrus_service"])
    for words in (
        f"target {address}:5000 is registered behind the load balancer and is none of the service's",
        f"{task['taskArn'].rsplit('/', 1)[1]} answers, which is RUNNING in service:{stranger['papyrus_service']}",
        "2 images answer behind one load balancer",
        other[:19],
        permanent_identity()[1][:19],
    ):
        assert words in result["msg"], (words, result["msg"])


def test_N2_a_task_that_was_replaced_and_an_old_one_that_still_answers(tmp_path: Path, services: Services) -> None:
    balancer, ecs = Balancer(services), harness.client("ecs")
    service = services.service("replaced")
    name = service["papyrus_service"]
    [old] = Services.running(name)
    before = run_module(tmp_path, "ecs_task_ip", {"cluster": CLUSTER, "service": name, "container": "app"})["tasks"]
    answered = {
        "request": {"url": "http://alb/dbcheck"},
        "responses": [{"status": 200, "remote": "127.0.0.1:80", "headers": headers_of(old)}],
    }
    ecs.stop_task(cluster=CLUSTER, task=old["taskArn"], reason="a test")
    until(lambda: [t for t in Services.running(name) if t["taskArn"] != old["taskArn"]], "another task")
    balancer.register(*addresses(service))
    result = chain_of(tmp_path, balancer, service, registered=before, answers=[answered])
    short = old["taskArn"].rsplit("/", 1)[1]
    assert f"task {short} was replaced in the meantime" in result["msg"]
    assert f"{short} answers, which is STOPPED: " in result["msg"]


def headers_of(task: dict[str, Any]) -> list[dict[str, str]]:
    """Headers of an answer that this task would give."""
    image = task["containers"][0]["imageDigest"]
    return [{"name": "X-Papyrus-Task", "value": task["taskArn"]}, {"name": "X-Papyrus-Image", "value": image}]


@pytest.mark.soak
def test_N2_a_whole_run_fails_on_an_app_whose_answers_claim_to_come_from_another_task(
    tmp_path: Path, services: Services
) -> None:
    task, image = permanent_identity()
    service = services.service("forged", container=forging(("X-Papyrus-Task", task), ("X-Papyrus-Image", image)))
    # The app's path of the database proof could find the claim before: its mark has the true task.
    smoke = harness.run_smoke(tmp_path, service | {"papyrus_db_paths": ["cli"]})
    assert smoke.exit_code not in (0, 4), smoke.output[-4000:]
    assert smoke.verdict["result"] == "FAILED"
    assert smoke.verdict["first_failure"]["step"] == "N2"
    kept = json.loads(smoke.item("binding.json"))
    [own] = Services.running(service["papyrus_service"])
    wrong = {(link["link"], link["expected"], link["found"]) for chain in kept["chains"] for link in chain["links"]}
    assert ("answer", own["taskArn"], "") in wrong
    assert f"{task.rsplit('/', 1)[1]} answers, which is RUNNING in service:{SERVICE}" in kept["reason"]
    assert harness.left_behind(smoke.run_id) == []


@pytest.mark.parametrize(("headers", "words"), [((), "lack X-Papyrus-Task, X-Papyrus-Image")])
def test_N2_answers_without_headers(
    tmp_path: Path, services: Services, headers: tuple[tuple[str, str], ...], words: str
) -> None:
    balancer = Balancer(services)
    service = services.service("absent", container=forging(*headers))
    balancer.register(*addresses(service))
    assert words in chain_of(tmp_path, balancer, service)["msg"]
    assert chain_of(tmp_path, balancer, service, identity_headers={})["status"] == "skip"
    assert permanent_service()["status"] == "ACTIVE"
