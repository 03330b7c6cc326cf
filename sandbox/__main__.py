"""Command line of the sandbox: up, down, status, env, serve."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from sandbox import behaviours, config, container_engine
from sandbox.config import Settings
from sandbox.processes import survivors

UP_SECONDS = 60.0
DOWN_SECONDS = 25.0
LOCK_SECONDS = 120.0
# What the server learns from whoever starts it.
HANDED_ON = (behaviours.VARIABLE, config.ENGINE_VARIABLE)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "env", "serve"])
    command = parser.parse_args(arguments).command
    try:
        if command in ("up", "serve"):
            container_engine.check(os.environ.get(config.ENGINE_VARIABLE) or config.PROCESSES)
        if command == "serve":
            from sandbox import server

            return server.main(config.load_settings())
        return {"up": up, "down": down, "status": status, "env": env}[command]()
    except (config.AddressError, container_engine.EngineError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
    except PermissionError as error:
        print(
            f"sandbox: {error.filename} cannot be used by this user: the sandbox there was made by another one. Remove "
            f"it as that user, or choose another folder by {config.ROOT_VARIABLE}",
            file=sys.stderr,
        )
    return 1


def up() -> int:
    """Start the sandbox unless it is up; returns when it answers."""
    root = config.default_root()
    with one_at_a_time(root):
        settings = config.load_settings(root)
        if is_up(settings) and wait_until_ready(settings, None):
            print(f"sandbox: is up at {settings.endpoint} (VPC {settings.vpc_cidr})")
            return 0
        if is_up(settings):
            print(f"sandbox: pid {pid_of(settings)} runs but does not answer; ending it", file=sys.stderr)
            end(settings)
        clear(settings)
        settings = config.settings_to_start(root)
        log_start = settings.log_file.stat().st_size if settings.log_file.exists() else 0
        with settings.log_file.open("ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "sandbox", "serve"],
                cwd=config.CHECKOUT,
                env={
                    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                    "LANG": "C.UTF-8",
                    "PYTHONUNBUFFERED": "1",
                    config.ROOT_VARIABLE: str(root),
                    **{name: os.environ[name] for name in HANDED_ON if name in os.environ},
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait_until_ready(settings, server):
            print(f"sandbox: up at {settings.endpoint} (VPC {settings.vpc_cidr}, pid {server.pid})")
            return 0
        server.kill()
        server.wait()
        clear(settings)
    with settings.log_file.open("rb") as log:
        log.seek(min(log_start, settings.log_file.stat().st_size))
        tail = log.read().decode(errors="replace").splitlines()[-15:]
    print(f"sandbox: did not come up; end of {settings.log_file}:", *tail, sep="\n  ", file=sys.stderr)
    return 1


def down() -> int:
    """End the sandbox and everything it started; its state stays."""
    root = config.default_root()
    if not (root / ".sandbox").exists():
        print("sandbox: is down")
        return 0
    with one_at_a_time(root):
        settings = config.load_settings(root)
        was_up = is_up(settings)
        if was_up:
            end(settings)
        clear(settings)
        left = survivors(settings.state)
    if left:
        print(f"sandbox: these processes did not end: {left}", file=sys.stderr)
        return 1
    print("sandbox: down" if was_up else "sandbox: is down")
    return 0


def status() -> int:
    """0 and the facts when up, 1 when down."""
    root = config.default_root()
    facts = read_facts(root)
    if facts is None or not is_up(config.load_settings(root)):
        print("sandbox: is down")
        return 1
    print(f"sandbox: is up at {facts['endpoint']}")
    for name in ("pid", "vpc_cidr", "account_id", "region", "base_image", "ca_file", "signing_public_key"):
        print(f"  {name}: {facts[name]}")
    return 0


def env() -> int:
    """Lines for a shell to eval."""
    root = config.default_root()
    facts = read_facts(root)
    if facts is None:
        print("sandbox: is down: bring it up first (make sandbox-up)", file=sys.stderr)
        return 1
    settings = config.load_settings(root)
    for name, value in {
        "AWS_ENDPOINT_URL": settings.endpoint,
        "AWS_ACCESS_KEY_ID": settings.access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.secret_access_key,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_REGION": settings.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TF_CLI_CONFIG_FILE": str(settings.terraform_rc),
    }.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


@contextlib.contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """One `up` or `down` of a sandbox after the other."""
    home = root / ".sandbox"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "sandbox.lock").open("a") as stream:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise config.AddressError("another `up` or `down` has not ended for two minutes") from None
                time.sleep(0.1)
        yield


def is_up(settings: Settings) -> bool:
    """Whether a server holds the pid file's lock, whatever number stands in it."""
    try:
        with settings.pid_file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def pid_of(settings: Settings) -> int:
    try:
        return int(settings.pid_file.read_text())
    except (OSError, ValueError):
        return 0


def read_facts(root: Path) -> dict[str, str] | None:
    try:
        facts: dict[str, str] = json.loads((root / ".sandbox" / "sandbox.json").read_text())
    except (OSError, ValueError):
        return None
    return facts


def wait_until_ready(settings: Settings, server: subprocess.Popen[bytes] | None) -> bool:
    """False when it ends or does not answer in time. With `server` None: one that runs already."""
    deadline = time.monotonic() + (UP_SECONDS if server else 15)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if server is not None and server.poll() is not None:
            return False
        with contextlib.suppress(OSError, ValueError):
            answer = json.load(opener.open(f"{settings.endpoint}/_sandbox/ready", timeout=5))
            if answer["ready"] and answer["pid"] == pid_of(settings):
                return True
        time.sleep(0.05)
    return False


def end(settings: Settings) -> None:
    """SIGTERM, wait, SIGKILL; its children end with it."""
    pid = pid_of(settings)
    if pid <= 0:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Whoever has this number now is the server only while the pid file's lock is held.
        if is_up(settings):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            # Its pidfd becomes readable when the process is gone; its lock is given back a moment before.
            if not select.select([handle], [], [], DOWN_SECONDS)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], DOWN_SECONDS)
    finally:
        os.close(handle)


def clear(settings: Settings) -> None:
    """After its end: no process and no file that says it runs."""
    deadline = time.monotonic() + 10
    while (left := survivors(settings.state)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    container_engine.clear(settings)
    settings.facts_file.unlink(missing_ok=True)
    settings.pid_file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
