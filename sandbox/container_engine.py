"""The command line client of Docker or podman, where PAPYRUS_SANDBOX_ENGINE wants ECS tasks to be containers.

Run as `python -m sandbox.container_engine ENGINE STATE PORT` it waits for the end of its standard input, which only the
sandbox can write to, and sweeps: a killed sandbox leaves no container behind.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from sandbox.config import CHECKOUT, PROCESSES, Settings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENGINES = ("docker", "podman")
LABEL = "papyrus.sandbox"
CALL_SECONDS, PULL_SECONDS, SWEEP_TRIES = 60, 600, 5


class EngineError(Exception):
    """The program refused; the message is the last line that it said."""


def check(name: str) -> None:
    """Whether tasks can be run this way on this machine. Raises EngineError."""
    if name == PROCESSES:
        return
    if name not in ENGINES:
        raise EngineError(f"PAPYRUS_SANDBOX_ENGINE={name}: choose one of {', '.join((PROCESSES, *ENGINES))}")
    for program in (name, "iptables"):
        if shutil.which(program, path=PATH) is None:
            raise EngineError(f"PAPYRUS_SANDBOX_ENGINE={name}: {program} is not installed (looked for in {PATH})")
    # Names the server's version, so it fails where no daemon answers.
    Client(name).run("version")


class Client:
    """Runs the program; its own environment holds nothing of the tasks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.program = shutil.which(name, path=PATH) or name
        self.environment = {
            "PATH": PATH,
            "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
            "LANG": "C.UTF-8",
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }
        session = Path(f"/run/user/{os.geteuid()}")
        if session.is_dir():
            self.environment["XDG_RUNTIME_DIR"] = str(session)

    def run(self, *words: str, more: Mapping[str, str] | None = None, timeout: float = CALL_SECONDS) -> str:
        """What it says on standard output; `more` is added to its environment. Raises EngineError."""
        try:
            done = subprocess.run(
                [self.program, *words],
                env={**(more or {}), **self.environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(f"{self.name}: {error}") from error
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"{self.name} {words[0]} ended with {done.returncode}"]
            raise EngineError(said[-1])
        return done.stdout.strip()

    def pull(self, registry: str, image: str, password: str, folder: Path) -> None:
        """Pull `image` of `registry`; the password goes by a file that only we may read. Raises EngineError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / "config.json"
        auth = base64.b64encode(f"AWS:{password}".encode()).decode()
        write_secret(file, json.dumps({"auths": {registry: {"auth": auth}}}))
        # Docker takes a registry on 127.0.0.0/8 without TLS by itself.
        plain = ["--tls-verify=false"] if self.name == "podman" else []
        try:
            places = {"REGISTRY_AUTH_FILE": str(file), "DOCKER_CONFIG": str(folder)}
            self.run("pull", "--quiet", *plain, f"{registry}/{image}", more=places, timeout=PULL_SECONDS)
        finally:
            file.unlink()

    def remove(self, *containers: str) -> None:
        """Kill and forget containers. podman would give them ten seconds, and minds who shares another's network."""
        if containers:
            at_once = ["--time=0", "--depend"] if self.name == "podman" else []
            try:
                self.run("rm", "--force", "--volumes", *at_once, *containers)
            except EngineError as error:
                if "no such container" not in str(error).lower():
                    raise

    def of_sandbox(self, state: Path) -> list[str]:
        return self.run("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}={state}").split()

    def sweep(self, state: Path, port: int) -> None:
        """End what this sandbox has in the engine, and only that. Raises EngineError."""
        for left in reversed(range(SWEEP_TRIES)):
            try:
                self._sweep(state, port)
                break
            except EngineError:
                # Somebody else sweeps as well, or a container has just ended by itself.
                if not left:
                    raise
                time.sleep(0.5)

    def _sweep(self, state: Path, port: int) -> None:
        self.remove(*self.of_sandbox(state))
        listed = self.run("images", "--digests", "--format", "{{.Repository}}@{{.Digest}}").split()
        mine = [name for name in listed if name.startswith(f"127.0.0.1:{port}/")]
        if mine:
            self.run("rmi", *dict.fromkeys(mine))


def write_secret(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)


def mark(settings: Settings) -> Path:
    """Says which engine has, or may still have, containers of this sandbox."""
    return settings.state / "engine.json"


def begin(settings: Settings) -> Client:
    """The client for a sandbox that starts, and the process that sweeps when it ends, in whatever way."""
    client = Client(settings.engine)
    mark(settings).write_text(json.dumps([settings.engine, settings.port]))
    # In our session: whoever has one of its own and is not known to Processes would be taken for a left-over.
    subprocess.Popen(
        [sys.executable, "-m", __name__, settings.engine, str(settings.state), str(settings.port)],
        cwd=CHECKOUT,
        env=client.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    return client


def clear(settings: Settings) -> None:
    """After the sandbox's end: whatever its engine still has of it. Raises EngineError."""
    if mark(settings).exists():
        name, port = json.loads(mark(settings).read_text())
        Client(name).sweep(settings.state, port)
        mark(settings).unlink()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    Client(sys.argv[1]).sweep(Path(sys.argv[2]), int(sys.argv[3]))
