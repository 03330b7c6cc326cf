"""One container as docker-py shows it, made real by the backend of its kind."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.processes import Process
    from sandbox.runtime import Backend

# The emulator looks for its own network's name in each container; the value is of no meaning.
NETWORK = "sandbox"


class DockerException(Exception):
    """As docker.errors has it."""


class APIError(DockerException):
    pass


class NotFound(APIError):
    pass


class ImageNotFound(NotFound):
    pass


class Container:
    """`kind` is the value of the label `ministack`; `environment`, `command` … are what the emulator asked for.

    Its backend sets ip, process, status ("running"), and exit_code when it ends.
    """

    def __init__(self, name: str, image: str, labels: dict[str, str], options: dict[str, Any], logs: Path) -> None:
        self.id = secrets.token_hex(32)
        self.short_id = self.id[:12]
        self.name = name
        self.image = image
        self.labels = labels
        self.kind = labels.get("ministack", "")
        self.options = options
        self.environment: dict[str, str] = dict(options.get("environment") or {})
        self.status = "created"
        self.ip: str | None = None
        self.process: Process | None = None
        self.exit_code: int | None = None
        self.log_file = logs / f"{self.id}.log"
        self.backend: Backend | None = None
        self.on_removed: list[Any] = []
        self._lock = threading.RLock()

    @property
    def attrs(self) -> dict[str, Any]:
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Config": {"Labels": self.labels, "Image": self.image},
            "NetworkSettings": {"Networks": {NETWORK: {"IPAddress": self.ip}}, "Ports": {}},
            "State": {"Status": self.status, "ExitCode": self.exit_code or 0, "Running": self.status == "running"},
        }

    @property
    def ports(self) -> dict[str, Any]:
        return {}

    def reload(self) -> None:
        """See whether its process has ended meanwhile."""
        with self._lock:
            if self.status == "running" and self.process is not None:
                code = self.process.poll()
                if code is not None:
                    self.exit_code = code
                    self.status = "exited"

    def start(self) -> None:
        if self.backend is not None:
            with self._lock:
                self.exit_code = None
                self.process = None
            self.backend.start(self)

    def wait(self, timeout: float | None = None, **_: Any) -> dict[str, int]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.reload()
            if self.status != "running":
                return {"StatusCode": self.exit_code or 0}
            if deadline is not None and time.monotonic() > deadline:
                raise APIError(f"container {self.name} still runs after {timeout} s")
            time.sleep(0.05)

    def stop(self, timeout: float = 10, **_: Any) -> None:
        if self.backend is not None and self.status == "running":
            self.backend.stop(self, timeout)
        with self._lock:
            self.reload()
            if self.status != "removed":
                self.status = "exited"

    def kill(self, **_: Any) -> None:
        self.stop(timeout=0)

    def restart(self, timeout: float = 10, **_: Any) -> None:
        self.stop(timeout)
        self.start()

    def remove(self, v: bool = False, force: bool = False, **_: Any) -> None:
        self.reload()
        if self.status == "running":
            if not force:
                raise APIError(f"container {self.name} is running: stop it first")
            self.stop(timeout=1)
        with self._lock:
            if self.status == "removed":
                return
            self.status = "removed"
        if self.backend is not None:
            self.backend.remove(self)
        for callback in self.on_removed:
            callback(self)

    def logs(
        self, stream: bool = False, follow: bool = False, tail: int | str | None = None, **_: Any
    ) -> bytes | Iterator[bytes]:
        if stream:
            return self._follow() if follow else iter([self._log_bytes()])
        data = self._log_bytes()
        return b"".join(data.splitlines(keepends=True)[-tail:]) if isinstance(tail, int) else data

    def exec_run(self, *_: Any, **__: Any) -> tuple[int, bytes]:
        raise APIError("the sandbox's engine runs no commands inside containers this way")

    def _log_bytes(self) -> bytes:
        try:
            return self.log_file.read_bytes()
        except FileNotFoundError:
            return b""

    def _follow(self) -> Iterator[bytes]:
        """Whole lines as they come; the rest without a line end when the container has ended."""
        with self.log_file.open("rb") as stream:
            rest = b""
            while True:
                self.reload()
                # Before reading: what was written before the end is read after it.
                ended = self.status != "running"
                data = rest + stream.read()
                lines, _, rest = data.rpartition(b"\n")
                if lines:
                    yield lines + b"\n"
                if ended:
                    if rest:
                        yield rest
                    return
                if not lines:
                    time.sleep(0.1)
