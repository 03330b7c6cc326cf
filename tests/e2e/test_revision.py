"""Image and revision of a release against the local AWS, whose record of calls says what was pushed and registered."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .docker_daemon import Daemon
from .recorded import Recorded, changed_app
from .services import CLUSTER, REGISTERABLE, Services, permanent_service, unique

PLAYBOOK = "tests/e2e/revision.yml"


class Run:
    """A finished run, what it wrote and what it left."""

    def __init__(self, folder: Path, variables: dict[str, Any], *arguments: str) -> None:
        running = Recorded(folder, variables, arguments, PLAYBOOK)
        self.smoke = running.end()
        self.output, self.exit_code, self.writes = self.smoke.output, self.smoke.exit_code, running.writes

    def evidence(self, name: str) -> dict[str, Any]:
        """An item of the bundle."""
        assert self.exit_code == 0, self.output[-4000:]
        found: dict[str, Any] = json.loads(self.smoke.item(name))
        return found


def described(arn: str) -> dict[str, Any]:
    """A revision and its tags, asked without the product's code."""
    answer = harness.client("ecs").describe_task_definition(taskDefinition=arn, include=["TAGS"])
    return {**answer["taskDefinition"], "tags": sorted(answer.get("tags", []), key=str)}


@pytest.mark.soak
def test_F1_F2_from_a_changed_line_to_a_revision_and_nothing_the_second_time(
    tmp_path: Path, services: Services
) -> None:
    service = services.service("rev", environment={"PGSSLMODE": "require", "KEPT": "yes"}, desired=0)
    variables = service | changed_app(tmp_path)
    first = Run(tmp_path / "first", variables)
    image, revision = first.evidence("image_push.json"), first.evidence("taskdef_diff.json")
    assert (image["outcome"], image["builder"], len(image["layers"])) == ("pushed", "native", 3)
    assert len(image["tags"]) == 1
    assert first.writes.count("PutImage") == 1
    assert first.writes.count("RegisterTaskDefinition") == 1
    assert {(row["member"], row["name"]) for row in revision["differences"]} == {
        ("image", ""),
        ("environment", "PGSSLMODE"),
    }
    made, source = described(revision["task_definition_arn"]), described(revision["previous"])
    app = made["containerDefinitions"][0]
    assert app["image"] == image["image"]
    values = {item["name"]: item["value"] for item in app["environment"]}
    assert (values["PGSSLMODE"], values["KEPT"]) == ("verify-full", "yes")
    assert app["secrets"] == source["containerDefinitions"][0]["secrets"]
    second = Run(tmp_path / "second", variables)
    assert second.evidence("image_push.json")["outcome"] == "was there already"
    assert second.evidence("taskdef_diff.json")["task_definition_arn"] == revision["task_definition_arn"]
    assert second.writes == []
    arn, name = revision["task_definition_arn"], service["papyrus_service"]
    harness.client("ecs").update_service(cluster=CLUSTER, service=name, taskDefinition=arn)
    third = Run(tmp_path / "third", variables).evidence("taskdef_diff.json")
    assert (third["differences"], third["registered"], third["previous"]) == ([], False, arn)


@pytest.mark.soak
def test_F1_F2_check_mode_with_diff_shows_the_plan_and_writes_nothing(tmp_path: Path, services: Services) -> None:
    environment = {"PGSSLMODE": "require", "API_TOKEN": "a-value-nobody-may-see"}
    service = services.service("check", environment=environment, desired=0)
    wanted = {"PGSSLMODE": "verify-full", "API_TOKEN": "another-value-nobody-may-see", "NEW": "1"}
    variables = service | changed_app(tmp_path) | {"papyrus_task_environment": wanted}
    run = Run(tmp_path / "run", variables, "--check", "--diff", "-vvv")
    assert run.exit_code == 0, run.output[-4000:]
    assert run.writes == []
    assert run.smoke.bundles == []
    for line in ("-            PGSSLMODE: require", "+            PGSSLMODE: verify-full", "+            NEW: '1'"):
        assert line in run.output, line
    assert "[redacted:variable:" in run.output
    assert "value-nobody-may-see" not in run.output


def hostile() -> dict[str, Any]:
    """A definition with members that a release must not touch, as it may be registered."""
    base = described(permanent_service()["taskDefinition"])
    app = dict(base["containerDefinitions"][0])
    secret = app["secrets"][0]["valueFrom"].rsplit(":", 3)[0]
    app.update(
        name="app",
        repositoryCredentials={"credentialsParameter": secret},
        dependsOn=[{"containerName": "proxy", "condition": "START"}],
        environment=[
            {"name": "PGSSLMODE", "value": "disable"},
            {"name": "TWICE", "value": "1"},
            {"name": "PGSSLMODE", "value": "prefer"},
            {"name": "EMPTY", "value": ""},
            *({"name": f"V{number:03}", "value": str(number)} for number in range(200)),
        ],
        environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::papyrus-bucket/app.env"}],
        logConfiguration={
            "logDriver": "splunk",
            "options": {"splunk-url": "https://splunk.example"},
            "secretOptions": [{"name": "splunk-token", "valueFrom": f"{secret}:token::"}],
        },
        ulimits=[{"name": "nofile", "softLimit": 1024, "hardLimit": 4096}],
        dockerLabels={"a": "b"},
        stopTimeout=30,
    )
    proxy = {"name": "proxy", "image": "envoy:1", "essential": False, "secrets": [{"name": "A", "valueFrom": secret}]}
    return {
        "containerDefinitions": [app, proxy],
        **{key: base[key] for key in REGISTERABLE if base.get(key)},
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "ephemeralStorage": {"sizeInGiB": 30},
        "enableFaultInjection": True,
        "volumes": [{"name": "scratch"}],
        "tags": [{"key": "Project", "value": "papyrus"}, {"key": "Team", "value": "a b"}],
    }


def test_F2_everything_else_of_a_rich_definition_comes_back_as_it_was(tmp_path: Path, services: Services) -> None:
    ecs, name = harness.client("ecs"), unique("rich")
    source = ecs.register_task_definition(family=name, **hostile())["taskDefinition"]["taskDefinitionArn"]
    ecs.create_service(
        cluster=CLUSTER,
        serviceName=name,
        taskDefinition=source,
        desiredCount=0,
        launchType="FARGATE",
        networkConfiguration=permanent_service()["networkConfiguration"],
    )
    services.undo.append(lambda: ecs.delete_service(cluster=CLUSTER, service=name, force=True))
    ecs.deregister_task_definition(taskDefinition=source)
    variables = {"papyrus_service": name, "papyrus_task_family": name, "papyrus_task_environment": {"TWICE": None}}
    variables["papyrus_task_environment"]["PGSSLMODE"] = "require"
    run = Run(tmp_path, variables)
    revision = run.evidence("taskdef_diff.json")
    assert revision["previous_status"] == "INACTIVE"
    before, after = described(source), described(revision["task_definition_arn"])
    own = {"taskDefinitionArn", "revision", "status", "registeredAt", "deregisteredAt", "containerDefinitions"}
    assert {k: v for k, v in before.items() if k not in own} == {k: v for k, v in after.items() if k not in own}
    old, new = (each["containerDefinitions"] for each in (before, after))
    assert old[1] == new[1]
    changed = {"image", "environment"}
    assert {k: v for k, v in old[0].items() if k not in changed} == {
        k: v for k, v in new[0].items() if k not in changed
    }
    values = [(item["name"], item["value"]) for item in new[0]["environment"]]
    assert values == [("PGSSLMODE", "require"), ("EMPTY", ""), *((f"V{n:03}", str(n)) for n in range(200))]


@pytest.mark.soak
def test_F1_an_image_that_is_there_is_released_by_tag_or_digest(tmp_path: Path, services: Services) -> None:
    service = services.service("none", desired=0)
    running = described(permanent_service()["taskDefinition"])["containerDefinitions"][0]["image"]
    tag = f"sha256-{running.rpartition(':')[2][:16]}"
    for number, name in enumerate((tag, running)):
        variables = service | {"papyrus_image_builder": "none", "papyrus_release_image": name}
        run = Run(tmp_path / str(number), variables)
        image = run.evidence("image_push.json")
        assert (image["image"], image["outcome"], image["index_digest"]) == (running, "was there already", None), name
        assert tag in image["tags"]
        assert "PutImage" not in run.writes


@pytest.mark.soak
@pytest.mark.parametrize(
    ("builder", "image", "words"),
    [
        ("none", "no-such-tag", "ECR has no image papyrus:no-such-tag"),
        ("kaniko", "", "there are native, docker and none"),
    ],
)
def test_F1_what_cannot_be_released_ends_the_run_before_a_revision(
    tmp_path: Path, builder: str, image: str, words: str
) -> None:
    variables = {"papyrus_image_builder": builder, "papyrus_release_image": image}
    smoke = harness.RunningSmoke(tmp_path, variables, (), PLAYBOOK).end()
    assert smoke.exit_code == 2
    assert words in " ".join(smoke.output.replace("''", "'").split())
    assert "Make the revision" not in smoke.output


@pytest.fixture(name="daemon")
def _daemon() -> Iterator[Daemon]:
    made = Daemon(sys.executable)
    yield made
    made.close()


def with_docker(daemon: Daemon, *, buildx: bool) -> dict[str, Any]:
    """Inventory variables."""
    path = f"{daemon.client_folder}:/usr/local/bin:/usr/bin:/bin"
    return {
        "papyrus_image_builder": "docker",
        "papyrus_docker_buildx": buildx,
        "papyrus_docker_environment": {"DOCKER_HOST": f"unix://{daemon.socket}", "PATH": path},
    }


def went_out(daemon: Daemon, run: Run, folder: Path) -> dict[str, str]:
    """Require that the inputs reached the daemon and that its index was resolved. The build's parameters."""
    image, (build,) = run.evidence("image_push.json"), daemon.builds
    arguments = json.loads(build["buildargs"])
    assert arguments["BASE"] == harness.facts()["base_image"]
    assert arguments["RDS_CA"] == "rds-ca.pem"
    assert daemon.context["rds-ca.pem"] == Path(harness.facts()["ca_file"]).read_bytes()
    assert daemon.context["papyrus/__init__.py"] == (folder / "app" / "papyrus" / "__init__.py").read_bytes()
    assert (build["platform"], daemon.logins) == ("linux/amd64", ["AWS"])
    assert (image["outcome"], image["platforms"]) == ("pushed", ["linux/amd64"])
    assert image["index_digest"] != image["digest"]
    assert image["revision"] == arguments["REVISION"]
    assert image["tags"] == [build["t"].rpartition(":")[2]]
    assert run.evidence("taskdef_diff.json")["image"].endswith(f"@{image['digest']}")
    return build


@pytest.mark.soak
def test_F1_a_build_by_buildx_is_planned_without_docker_and_not_made_twice(
    tmp_path: Path, services: Services, daemon: Daemon
) -> None:
    variables = services.service("buildx", desired=0) | changed_app(tmp_path) | with_docker(daemon, buildx=True)
    planned = Run(tmp_path / "check", variables, "--check", "--diff")
    assert planned.exit_code == 0, planned.output[-4000:]
    assert "The image is not built in check mode" in planned.output
    assert (daemon.requests, planned.writes) == ([], [])

    build = went_out(daemon, Run(tmp_path / "run", variables), tmp_path)
    assert f"{harness.facts()['account_id']}.dkr.ecr" in build["logins"]
    assert not Path(build["folder"]).exists(), "the login outlived the build"

    again = Run(tmp_path / "again", variables)
    assert again.evidence("image_push.json")["outcome"] == "was there already"
    assert len(daemon.builds) == 1


def test_F1_a_build_by_the_api_of_docker_or_podman(tmp_path: Path, services: Services, daemon: Daemon) -> None:
    variables = services.service("docker", desired=0) | changed_app(tmp_path) | with_docker(daemon, buildx=False)
    went_out(daemon, Run(tmp_path / "run", variables), tmp_path)
    assert "tests/conftest.py" not in daemon.context, "what .dockerignore leaves out was sent"
