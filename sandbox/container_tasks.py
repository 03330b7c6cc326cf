"""Runs an ECS container as a real one, where PAPYRUS_SANDBOX_ENGINE is docker or podman.

A task has a network namespace of its own without any interface: nothing of it listens or connects outside 127.0.0.0/8,
whatever it does. sandbox.container_network is the way in and out. Tested with podman as root; never run with Docker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import container_engine, container_network, host_python
from sandbox.container_engine import LABEL, EngineError, write_secret
from sandbox.containers import APIError, Container
from sandbox.images import REFERENCE, ImageStore, Unpacked
from sandbox.processes import Process, StartError
from sandbox.tasks import SYSTEM_PATH, TASK_LABEL, TERMINAL, Further, Plan, TaskBackend

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.tasks")
SCRIPT = Path(container_network.__file__).resolve()
# Of this machine, for images that stand for its Python and hold none.
HOST_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
READY_SECONDS, CLOSE_SECONDS, GLANCE_SECONDS = 30, 1, 0.05
NOT_STARTED = ("created", "configured", "initialized")


class ContainerBackend(TaskBackend):
    """Containers with the label ministack=ecs."""

    unpacks = False

    def __init__(self, runtime: Runtime, images: ImageStore, ecs: Any) -> None:
        super().__init__(runtime, images, ecs)
        self._client = container_engine.begin(runtime.settings)
        # What runs beside each task for its network (container_network.outer).
        self._networks: dict[str, Process] = {}
        self._pulled: set[str] = set()
        # Container → pid of its program.
        self._programs: dict[str, int] = {}
        self._registry = f"127.0.0.1:{runtime.settings.port}"
        runtime.at_stop.append(self._close)

    def start(self, container: Container) -> None:
        plan, client, arn = self.plan(container), self._client, container.labels[TASK_LABEL]
        image = self._pull(container.image, plan.image.digest, plan.home)
        if arn not in self._networks:
            self._networks[arn] = self._connect(arn, container.ip or "", plan.home.parent / "network")
        file = plan.home / "environment"
        lines, many = split_environment(self._environment(container, plan.image))
        write_secret(file, lines)
        words = ["--env-file", str(file), *(f"--env={name}" for name in many), *self._options(container, plan)]
        words += command_words(container.options, image)
        try:
            client.run(
                "create", "--name", container.id, "--network", f"container:{network_name(arn)}", *words, more=many
            )
        except EngineError as error:
            raise APIError(f"CannotCreateContainerError: {error}") from error
        finally:
            file.unlink()
        container.process = self._run(plan.argv, plan.home, container.log_file, container.name)
        self._wait_for_start(container, container.process)
        container.status = "running"

    def stop(self, container: Container, timeout: float) -> None:
        if container.process is not None:
            container.process.send(signal.SIGTERM)
            try:
                container.exit_code = container.process.wait(timeout)
            except TimeoutError:
                self.kill(container)
                container.exit_code = container.process.wait(10)

    def kill(self, container: Container) -> None:
        try:
            self._client.run("kill", container.id)
        except EngineError:
            # It has ended by itself, or its engine has: then its client goes without it.
            super().kill(container)

    def remove(self, container: Container) -> None:
        arn = container.labels[TASK_LABEL]
        self._programs.pop(container.id, None)
        names = [container.id]
        if all(c is container or c.status == "removed" for c in self._runtime.engine.of_task(arn)):
            outer = self._networks.pop(arn, None)
            if outer is not None:
                outer.kill()
                names.append(network_name(arn))
        try:
            self._client.remove(*names)
        except EngineError as error:
            # It is swept at the end.
            log.warning("container %s: %s", container.name, error)
        super().remove(container)

    def program(self, container: Container) -> int | None:
        """The engine knows it: what we started is its client."""
        if container.id not in self._programs:
            with contextlib.suppress(EngineError, ValueError):
                self._programs[container.id] = int(
                    self._client.run("inspect", "--format", "{{.State.Pid}}", container.id)
                )
        return self._programs.get(container.id) or None

    def further(self, container: Container, argv: list[str]) -> Further:
        """The engine's client on a terminal. podman's starts the program itself, so that it ends with the session."""
        program, verb, name = self.plan(container).inside
        variables = [word for pair in TERMINAL.items() for word in ("--env", "=".join(pair))]
        words = [program, verb, "--interactive", "--tty", *variables, name, *argv]
        return Further(words, {**self._client.environment, **TERMINAL}, self.plan(container).folder)

    def _pull(self, reference: str, digest: str, folder: Path) -> str:
        """Name of an image that the engine has now, by its digest in the sandbox's own registry."""
        parts = REFERENCE.match(reference)
        if parts is None:
            raise APIError(f"CannotPullContainerError: {reference}: not a reference of this account's ECR")
        settings = self._runtime.settings
        key = settings.access_key_id if parts["account"] == settings.account else parts["account"]
        password, _ = self._runtime.registry.tokens.issue(key, 600)
        image = f"{parts['repository']}@{digest}"
        if image not in self._pulled:
            try:
                self._client.pull(self._registry, image, password, folder / "pull")
            except EngineError as error:
                raise APIError(f"CannotPullContainerError: {error}") from error
            self._pulled.add(image)
        return f"{self._registry}/{image}"

    def _connect(self, arn: str, ip: str, folder: Path) -> Process:
        """The task's namespace, held by a container that stands for this machine's Python, and the way into it."""
        settings = self._runtime.settings
        own = f"{settings.account}.dkr.ecr.{settings.region}.amazonaws.com/{host_python.REPOSITORY}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        image = self._pull(own, host_python.base_image().digest, folder)
        python = [str(Path(sys.executable).resolve()), "-I", "-S"]
        where = [ip, str(settings.port)]
        environment = {"SANDBOX_TASK_IP": ip}
        outer = self._runtime.processes.start(
            [*python, str(SCRIPT), "outer", *where], env=environment, cwd=folder, output=folder / "log", name="outer"
        )
        words = ["run", "--name", network_name(arn), "--network", "none", "--cap-add", "NET_ADMIN"]
        words += ["--hostname", f"ip-{ip.replace('.', '-')}", "--log-driver", "none", "--label", self._label()]
        words += [*host_mounts(), "--volume", f"{folder}:/sandbox", "--volume", f"{SCRIPT}:/sandbox.py:ro"]
        words += ["--env", f"PATH={container_engine.PATH}", "--security-opt", "label=disable"]
        words += ["--entrypoint", python[0], image, *python[1:], "/sandbox.py", "inner", *where]
        inner = self._run([self._client.program, *words], folder, folder / "log", "inner")
        deadline = time.monotonic() + READY_SECONDS
        while not (folder / container_network.READY).exists():
            if inner.poll() is not None or outer.poll() is not None or time.monotonic() > deadline:
                for process in (outer, inner):
                    process.kill()
                raise APIError(f"network of the task: {_last_line(folder / 'log')}")
            time.sleep(GLANCE_SECONDS)
        return outer

    def _run(self, argv: list[str], folder: Path, output: Path, name: str) -> Process:
        environment = self._client.environment
        try:
            return self._runtime.processes.start(argv, env=environment, cwd=folder, output=output, name=name)
        except StartError as error:
            raise APIError(f"CannotStartContainerError: {error}") from error

    def _wait_for_start(self, container: Container, process: Process) -> None:
        while True:
            # Before its state: what ends in between has started.
            ended = process.poll() is not None
            try:
                state = self._client.run("inspect", "--format", "{{.State.Status}}", container.id)
            except EngineError as error:
                raise APIError(f"CannotStartContainerError: {error}") from error
            if state not in NOT_STARTED:
                return
            if ended:
                text = _last_line(container.log_file)
                raise APIError(f"CannotStartContainerError: ResponseError: failed to create task for container: {text}")
            time.sleep(GLANCE_SECONDS)

    def _options(self, container: Container, plan: Plan) -> list[str]:
        """What the task definition asks of the engine, as its options."""
        _, _, _, region, account, _ = container.labels[TASK_LABEL].split(":", 5)
        task = self._find_task(container.labels[TASK_LABEL]) or {}
        revision = str(task.get("taskDefinitionArn")).rpartition("/")[2]
        definition = self._ecs._task_defs.get_scoped(account, region, revision) or {}
        name = container.labels["com.amazonaws.ecs.container-name"]
        own: dict[str, Any] = next((c for c in definition.get("containerDefinitions", []) if c["name"] == name), {})
        size = {key: task.get(key) or definition.get(key) for key in ("cpu", "memory")}
        words = definition_words(own, size, self._client.name)
        if host_python_of(plan.image):
            words += [*host_mounts(), "--volume", f"{self._python.parent}:{self._python.parent}:ro"]
        if folder := container.options.get("working_dir"):
            words += ["--workdir", str(folder)]
        return ["--label", self._label(), "--log-driver", "none", "--security-opt", "label=disable", *words]

    def _make_plan(self, container: Container, image: Unpacked, home: Path) -> Plan:
        client = self._client
        argv, inside = [client.program, "start", "--attach", container.id], (client.program, "exec", container.id)
        return Plan(argv, client.environment, home, image, home, inside)

    def _environment(self, container: Container, image: Unpacked) -> dict[str, str]:
        region = self._runtime.settings.region
        environment = {
            "HOSTNAME": f"ip-{(container.ip or '').replace('.', '-')}",
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            **container.environment,
        }
        if host_python_of(image):
            given = dict(entry.partition("=")[::2] for entry in image.config.get("Env") or []) | environment
            path = [str(self._python), *given.get("PATH", "").split(":"), *SYSTEM_PATH]
            environment["PATH"] = ":".join(dict.fromkeys(filter(None, path)))
        return environment

    def _label(self) -> str:
        return f"{LABEL}={self._runtime.settings.state}"

    def _close(self) -> None:
        """SIGTERM to all and a moment for it, then the end."""
        running = [c.process for c in self._runtime.engine.all() if c.backend is self and c.process is not None]
        for process in running:
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + CLOSE_SECONDS
        while time.monotonic() < deadline and any(process.poll() is None for process in running):
            time.sleep(GLANCE_SECONDS)
        self._client.sweep(self._runtime.settings.state, self._runtime.settings.port)


def network_name(arn: str) -> str:
    return f"papyrus-network-{arn.rpartition('/')[2]}"


def host_python_of(image: Unpacked) -> bool:
    """Whether the image stands for this machine's Python (sandbox.host_python)."""
    return "ops.papyrus.sandbox.host-python" in (image.config.get("Labels") or {})


def host_mounts() -> list[str]:
    folders = [*HOST_FOLDERS, *([] if Path(sys.base_prefix).is_relative_to("/usr") else [sys.base_prefix])]
    return [word for folder in folders if os.path.exists(folder) for word in ("--volume", f"{folder}:{folder}:ro")]


def split_environment(environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Lines of an --env-file, and the variables that cannot be one: they are passed on by name."""
    lines = [f"{name}={value}\n" for name, value in environment.items() if "\n" not in value]
    return "".join(lines), {name: value for name, value in environment.items() if "\n" in value}


def command_words(options: dict[str, Any], image: str) -> list[str]:
    """The last words of `create`: a task definition's entryPoint drops the image's command, as the engine does it."""
    entrypoint, command = list(options.get("entrypoint") or []), list(options.get("command") or [])
    return [*(["--entrypoint", entrypoint[0]] if entrypoint else []), image, *entrypoint[1:], *command]


def definition_words(own: dict[str, Any], size: dict[str, Any], engine: str) -> list[str]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html

    The task's own size limits each of its containers, not their sum.
    """
    words = []
    memory = own.get("memory") or size["memory"]
    if str(memory).isdigit():
        words.append(f"--memory={memory}m")
    if str(size["cpu"]).isdigit():
        words.append(f"--cpus={int(size['cpu']) / 1024}")
    if own.get("cpu"):
        words.append(f"--cpu-shares={max(2, int(own['cpu']))}")
    if own.get("user"):
        words.append(f"--user={own['user']}")
    if own.get("readonlyRootFilesystem"):
        # podman leaves /tmp, /run and /dev/shm writable by default, ECS does not.
        words += ["--read-only", *(["--read-only-tmpfs=false"] if engine == "podman" else [])]
    linux = own.get("linuxParameters") or {}
    if linux.get("initProcessEnabled"):
        words.append("--init")
    for kind in ("add", "drop"):
        words += [f"--cap-{kind}={name}" for name in (linux.get("capabilities") or {}).get(kind) or []]
    words += [f"--ulimit={u['name']}={u['softLimit']}:{u['hardLimit']}" for u in own.get("ulimits") or []]
    return words


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines() if file.exists() else []
    return lines[-1] if lines else "it ended at once"
