"""Runs an ECS container as a process on the task's own address, from the image that its task definition names."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import emulator, host_python
from sandbox.addresses import NoAddress
from sandbox.behaviours import behaviour
from sandbox.containers import APIError, Container
from sandbox.images import ImageError, ImageStore, Unpacked
from sandbox.processes import StartError

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.tasks")
TASK_LABEL = "com.amazonaws.ecs.task-arn"
# What ECS Exec's agent gives a command beside the container's own environment (and LANG, where there is none):
# https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/shell/shell_unix.go
TERMINAL = {"TERM": "xterm-256color"}
SYSTEM_PATH = ["/usr/local/bin", "/usr/bin", "/bin"]


@dataclass
class Plan:
    """How one container's process is to be started; ECS Exec and health checks start theirs the same way."""

    argv: list[str]
    environment: dict[str, str]
    folder: Path
    image: Unpacked
    home: Path
    # What a command has to begin with to run where the container does; then it needs no environment of its own.
    inside: tuple[str, ...] = ()


@dataclass
class Further:
    """How a further program is to be started where a container's own runs, on a terminal."""

    argv: list[str]
    environment: dict[str, str]
    folder: Path


class TaskBackend:
    """Containers with the label ministack=ecs."""

    # Whether the image's files are wanted, not only its configuration.
    unpacks = True

    def __init__(self, runtime: Runtime, images: ImageStore, ecs: Any) -> None:
        self._runtime = runtime
        self._images = images
        self._ecs = ecs
        self._lock = threading.Lock()
        self._plans: dict[str, Plan] = {}
        self._folder = runtime.settings.state / "tasks"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._python = host_python.prepare(runtime.settings.state / "host-python")

    def plan(self, container: Container) -> Plan:
        return self._plans[container.id]

    def program(self, container: Container) -> int | None:
        """Pid of the container's own program on this machine; None when there is none."""
        return container.process.pid if container.process is not None else None

    def further(self, container: Container, argv: list[str]) -> Further:
        """Another program in the container. Raises KeyError once that is gone."""
        plan = self._plans[container.id]
        inside = Inside(plan.image.root)
        environment = {"LANG": "C.UTF-8", **plan.environment, **TERMINAL}
        return Further([inside.argument(word) for word in argv], environment, plan.folder)

    def prepare(self, container: Container) -> None:
        """Unpack the image; give the task its address and network interface with its first container."""
        try:
            image = self._images.unpack(container.image, files=self.unpacks)
        except ImageError as error:
            raise APIError(str(error)) from error
        arn = container.labels[TASK_LABEL]
        with self._lock:
            container.ip = next((c.ip for c in self._runtime.engine.of_task(arn) if c.ip), None) or self._attach(arn)
        home = self._folder / arn.rpartition("/")[2] / container.id[:12]
        for folder in (home, home / "tmp"):
            folder.mkdir(parents=True)
        self._plans[container.id] = self._make_plan(container, image, home)

    def start(self, container: Container) -> None:
        plan = self._plans[container.id]
        try:
            container.process = self._runtime.processes.start(
                plan.argv,
                env=plan.environment,
                cwd=plan.folder,
                output=container.log_file,
                name=container.name,
            )
        except StartError as error:
            raise APIError(
                f"CannotStartContainerError: ResponseError: failed to create task for container: exec: "
                f'"{plan.argv[0]}": {error}'
            ) from error
        container.status = "running"

    def stop(self, container: Container, timeout: float) -> None:
        if container.process is not None:
            container.exit_code = container.process.stop(timeout)

    def kill(self, container: Container) -> None:
        """SIGKILL, without waiting."""
        if container.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(container.process.pid, signal.SIGKILL)

    def remove(self, container: Container) -> None:
        plan = self._plans.pop(container.id, None)
        if plan is not None:
            shutil.rmtree(plan.home, ignore_errors=True)
        arn = container.labels[TASK_LABEL]
        with self._lock:
            others = [c for c in self._runtime.engine.of_task(arn) if c is not container and c.status != "removed"]
            if not others and container.ip:
                self.detach(arn, container.ip)

    def _attach(self, arn: str) -> str:
        """The task's interface, in EC2 and on the task, before anything of it runs.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
        """
        from sandbox.seams import ec2 as interfaces

        task = self._ecs._tasks.get(arn)
        if task is None:
            raise APIError(f"task {arn} is gone")
        subnet_id = task.get("_subnet")
        ec2 = emulator.service("ec2")
        subnet = ec2._subnets.get(subnet_id) if subnet_id else None
        if subnet_id and subnet is None:
            raise APIError(f"The subnet ID '{subnet_id}' does not exist")
        try:
            # Without awsvpc configuration a task has a host's address: the end of the range stands for that.
            outside = f"127.{self._runtime.settings.octet}.255.0/24"
            ip = self._runtime.addresses.take_to_listen(subnet["CidrBlock"] if subnet else outside)
        except NoAddress as error:
            raise APIError(f"RESOURCE:ENI unable to allocate: {error}") from error
        task["_container_ip"] = ip
        if subnet is None:
            return ip
        if not task_interface(task, subnet):
            return ip
        attachment = emulator.core("responses").new_uuid()
        groups = task.get("_security_groups") or _default_groups(ec2, subnet["VpcId"])
        description = f"arn:aws:ecs:{self._runtime.settings.region}:{self._runtime.settings.account}:attachment/"
        interface = interfaces.create_interface(subnet_id, ip, groups, description + attachment)
        task["_interface"] = interface
        details = {
            "subnetId": subnet_id,
            "networkInterfaceId": interface,
            "macAddress": ec2._network_interfaces[interface]["MacAddress"],
            "privateDnsName": f"ip-{ip.replace('.', '-')}.{self._runtime.settings.region}.compute.internal",
            "privateIPv4Address": ip,
        }
        task["attachments"] = [
            {
                "id": attachment,
                "type": "ElasticNetworkInterface",
                "status": "ATTACHED",
                "details": [{"name": name, "value": value} for name, value in details.items()],
            }
        ]
        for entry in task.get("containers", []):
            entry["networkInterfaces"] = [{"attachmentId": attachment, "privateIpv4Address": ip}]
        return ip

    def detach(self, arn: str, ip: str) -> None:
        from sandbox.seams import ec2 as interfaces

        self._runtime.addresses.release(ip)
        task = self._find_task(arn)
        if task is None:
            return
        _, _, _, region, account, _ = arn.split(":", 5)
        interface = task.pop("_interface", None)
        if interface and interface_goes_with_its_task(interface):
            with emulator.request_scope(account, region):
                interfaces.delete_interface(interface)
        for attachment in task.get("attachments", []):
            attachment["status"] = "DELETED"

    def _find_task(self, arn: str) -> dict[str, Any] | None:
        _, _, _, region, account, _ = arn.split(":", 5)
        found: dict[str, Any] | None = self._ecs._tasks.get_scoped(account, region, arn)
        return found

    def _make_plan(self, container: Container, image: Unpacked, home: Path) -> Plan:
        config = image.config
        inside = Inside(image.root)
        given = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
        given |= container.environment
        path = [inside.path(part) for part in given.get("PATH", "").split(":") if part]
        environment = {name: inside.each_path(value) for name, value in given.items()}
        environment |= {
            "PATH": ":".join(dict.fromkeys([str(self._python), *path, *SYSTEM_PATH])),
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "HOSTNAME": f"ip-{(container.ip or '').replace('.', '-')}",
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "SANDBOX_TASK_IP": container.ip or "",
            "SANDBOX_GATEWAY_PORT": str(self._runtime.settings.port),
        }
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            environment.setdefault(name, self._runtime.settings.region)
        entrypoint = container.options.get("entrypoint")
        command = container.options.get("command")
        # A task definition's entryPoint drops the image's command, as `docker run --entrypoint` does.
        if not command:
            command = [] if entrypoint else config.get("Cmd") or []
        argv = [inside.argument(word) for word in [*(entrypoint or config.get("Entrypoint") or []), *command]]
        if not argv:
            raise APIError("no command specified")
        folder = container.options.get("working_dir") or config.get("WorkingDir") or "/"
        resolved = Path(inside.path(folder))
        if folder == "/" or not resolved.is_relative_to(image.root):
            resolved = image.root
        return Plan(argv, environment, resolved, image, home)


@behaviour("ecs", otherwise=lambda *_: False)
def task_interface(task: dict[str, Any], subnet: dict[str, Any]) -> bool:
    """A task with the network mode awsvpc has a network interface of its own in its subnet, before it runs.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
    """
    return task.get("_network_mode") == "awsvpc" and bool(subnet)


@behaviour("ecs", otherwise=lambda *_: False)
def interface_goes_with_its_task(interface: str) -> bool:
    """A task's network interface is deleted when the task stops.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
    """
    return bool(interface)


class Inside:
    """Paths of the image as paths of this machine: there is no chroot, so they are rewritten where they are named."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, text: str) -> str:
        """An absolute path that exists in the image, moved there; anything else stays as it is."""
        if not text.startswith("/") or text.strip("/") == "":
            return text
        moved = self._root / text.lstrip("/")
        return str(moved) if moved.exists() else text

    def each_path(self, value: str) -> str:
        """Each part of a list such as PYTHONPATH."""
        return ":".join(self.path(part) for part in value.split(":"))

    def argument(self, word: str) -> str:
        """A word of a command, which may be --option=/path."""
        option, equals, value = word.partition("=")
        return f"{option}={self.path(value)}" if equals and option.startswith("-") else self.path(word)


def _default_groups(ec2: Any, vpc: str) -> list[str]:
    return [
        str(group["GroupId"])
        for group in ec2._security_groups.values()
        if group.get("VpcId") == vpc and group.get("GroupName") == "default"
    ]
