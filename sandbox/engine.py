"""A container engine shaped like docker-py, as far as the emulator uses it: containers are local processes."""

from __future__ import annotations

import importlib.util
import sys
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sandbox.containers import (
    APIError,
    Container,
    DockerException,
    ImageNotFound,
    NotFound,
)

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

# What the emulator takes its own container for (environment variable HOSTNAME); its address is where tasks reach it.
SELF = "sandbox-gateway"


class ImageSource(Protocol):
    """Where images are looked up; the ECR seam is one."""

    def digest(self, reference: str) -> str | None:
        """Manifest digest of an image reference, None when there is no such image."""


class Image:
    def __init__(self, reference: str, digest: str) -> None:
        self.id = digest
        self.tags = [reference]

    def tag(self, repository: str, tag: str | None = None, **_: Any) -> bool:
        """Nothing to do: references are resolved in the registry at each start."""
        return True


class Images:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, reference: str) -> Image:
        digest = self._engine.resolve(reference)
        if digest is None:
            raise ImageNotFound(f"{reference}: not found")
        return Image(reference, digest)

    def pull(self, reference: str, tag: str | None = None, **_: Any) -> Image:
        whole = f"{reference}:{tag}" if tag else reference
        digest = self._engine.resolve(whole)
        if digest is None:
            raise ImageNotFound(f"failed to resolve ref {whole}: {whole}: not found")
        return Image(whole, digest)

    def get_registry_data(self, reference: str, **_: Any) -> Image:
        return self.get(reference)


class Containers:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, identifier: str) -> Container:
        if identifier == SELF:
            return self._engine.gateway
        for container in self._engine.all():
            if identifier in (container.id, container.name, container.short_id):
                return container
        raise NotFound(f"No such container: {identifier}")

    def list(self, all: bool = False, filters: dict[str, Any] | None = None, **_: Any) -> list[Container]:
        wanted = (filters or {}).get("label") or []
        labels = [wanted] if isinstance(wanted, str) else list(wanted)
        found = []
        for container in self._engine.all():
            container.reload()
            if not all and container.status != "running":
                continue
            have = {*container.labels, *(f"{name}={value}" for name, value in container.labels.items())}
            if all_in(labels, have):
                found.append(container)
        return found

    def run(self, image: str, **options: Any) -> Container:
        return self._engine.run(image, options)


def all_in(wanted: list[str], have: set[str]) -> bool:
    return all(label in have for label in wanted)


class Missing:
    """Volumes and networks: none exist."""

    def get(self, name: str) -> Any:
        raise NotFound(f"no such object: {name}")

    def list(self, **_: Any) -> list[Any]:
        return []


class Engine:
    """What `docker.from_env()` gives to the emulator."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._containers: dict[str, Container] = {}
        self._logs = runtime.settings.state / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self.images_from: ImageSource | None = None
        self.containers = Containers(self)
        self.images = Images(self)
        self.volumes = Missing()
        self.networks = Missing()
        self.gateway = Container(SELF, "sandbox", {}, {}, self._logs)
        self.gateway.ip = "127.0.0.1"
        self.gateway.status = "running"

    def ping(self) -> bool:
        return True

    def all(self) -> list[Container]:
        with self._lock:
            return list(self._containers.values())

    def of_task(self, task_arn: str) -> list[Container]:
        return [c for c in self.all() if c.labels.get("com.amazonaws.ecs.task-arn") == task_arn]

    def resolve(self, reference: str) -> str | None:
        return self.images_from.digest(reference) if self.images_from is not None else None

    def run(self, image: str, options: dict[str, Any]) -> Container:
        """Make and start a container. Raises ImageNotFound or APIError, as docker-py does."""
        labels = dict(options.get("labels") or {})
        container = Container(str(options.get("name") or "unnamed"), image, labels, options, self._logs)
        backend = self._runtime.backends.get(container.kind)
        if backend is None:
            raise APIError(f"the sandbox cannot run containers of kind {container.kind!r} ({image})")
        container.backend = backend
        container.on_removed.append(self._forget)
        backend.prepare(container)
        container.log_file.touch()
        with self._lock:
            self._containers[container.id] = container
        try:
            backend.start(container)
        except Exception:
            backend.remove(container)
            self._forget(container)
            raise
        return container

    def _forget(self, container: Container) -> None:
        with self._lock:
            self._containers.pop(container.id, None)
        # The log forwarder may still read the last lines through its open file.
        Path(container.log_file).unlink(missing_ok=True)


def install(engine: Engine) -> None:
    """Become the `docker` package of this process, before the emulator asks for it."""
    docker = types.ModuleType("docker")
    errors = types.ModuleType("docker.errors")
    docker_types = types.ModuleType("docker.types")
    for error in (DockerException, APIError, NotFound, ImageNotFound):
        setattr(errors, error.__name__, error)
    for name, value in (
        ("errors", errors),
        ("types", docker_types),
        ("from_env", lambda **_: engine),
        ("DockerClient", lambda *_, **__: engine),
    ):
        setattr(docker, name, value)
    for module in (docker, errors, docker_types):
        # importlib.util.find_spec() refuses modules without one.
        module.__spec__ = importlib.util.spec_from_loader(module.__name__, loader=None)
        sys.modules[module.__name__] = module
