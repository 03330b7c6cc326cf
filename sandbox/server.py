"""The one process of a sandbox: prepares the emulator, puts the seams in, serves until it is told to end."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from typing import IO, Any

from sandbox import behaviours, emulator, engine, logfile, loopback, operations, rules, seams, signing_key
from sandbox.addresses import Addresses
from sandbox.audit import Audit
from sandbox.config import Settings, write_atomically
from sandbox.faults import Faults
from sandbox.front_door import FrontDoor
from sandbox.processes import Processes
from sandbox.recording import Recording
from sandbox.registry import Registry
from sandbox.runtime import Runtime
from sandbox.switches import Switches

SAVE_SECONDS = 3.0
log = logging.getLogger("sandbox")


class AlreadyRunning(Exception):
    """Another server holds this sandbox."""


def hold_pid_file(settings: Settings) -> IO[str]:
    """Lock the pid file for our life: the lock, not the number in it, says that a sandbox runs."""
    settings.home.mkdir(parents=True, exist_ok=True)
    stream = settings.pid_file.open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise AlreadyRunning(f"a sandbox already runs in {settings.home}") from error
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream


def claim_range(settings: Settings) -> socket.socket:
    """Listen on the VPC's DNS address, so that no other sandbox takes the range. Raises OSError."""
    claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    claim.bind(settings.claim)
    claim.listen(1)
    return claim


def emulator_environment(settings: Settings) -> dict[str, str]:
    """What ministack reads when it is imported; nothing else of our environment reaches it."""
    state = settings.state
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(state / "home"),
        "TMPDIR": str(state / "tmp"),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(settings.port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": settings.region,
        "MINISTACK_ACCOUNT_ID": settings.account,
        "AWS_DEFAULT_REGION": settings.region,
        # Whose signed URLs of S3 are good.
        "AWS_ACCESS_KEY_ID": settings.access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.secret_access_key,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AUTH": "false",
        # The event history is ours (sandbox.audit).
        "CLOUDTRAIL_RECORDING": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state / "emulator"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state / "s3"),
        "HOSTNAME": engine.SELF,
        "DOCKER_NETWORK": "sandbox",
        # Its own reaper of containers finds no socket and stays away.
        "DOCKER_HOST": "unix:///nonexistent",
        "LOG_LEVEL": "WARNING",
    }


def build(settings: Settings) -> tuple[Runtime, FrontDoor]:
    """Everything but the listening socket. The process's environment is replaced."""
    loopback.install()
    environment, without = emulator_environment(settings), os.environ.get(behaviours.VARIABLE)
    os.environ.clear()
    os.environ.update(environment)
    for name in ("HOME", "TMPDIR", "STATE_DIR", "S3_DATA_DIR"):
        folder = settings.state / os.path.relpath(environment[name], settings.state)
        folder.mkdir(parents=True, exist_ok=True)
    # It holds secret values in clear.
    (settings.state / "emulator").chmod(0o700)
    runtime = Runtime(
        settings=settings,
        processes=Processes(settings.state),
        addresses=Addresses(),
        faults=Faults(),
        recording=Recording(settings.state / "calls.jsonl"),
        switches=Switches(),
        audit=Audit(settings.state / "audit.sqlite"),
    )
    shutil.rmtree(settings.state / "logs", ignore_errors=True)
    runtime.engine = engine.Engine(runtime)
    engine.install(runtime.engine)
    application = emulator.app()
    runtime.registry = Registry(runtime)
    seams.install_all(runtime)
    rules.load()
    operations.load()
    if without:
        behaviours.take_out(without.split(","))
    door = FrontDoor(runtime, application.app, runtime.registry)
    runtime.at_start.append(lambda: _announce(runtime))
    return runtime, door


def _announce(runtime: Runtime) -> None:
    write_facts(runtime)
    settings = runtime.settings
    log.info("up at %s, VPC %s, pid %s", settings.endpoint, settings.vpc_cidr, os.getpid())


def write_facts(runtime: Runtime) -> None:
    """sandbox.json: what tools need to know of the running sandbox."""
    settings = runtime.settings
    facts = {
        "endpoint": settings.endpoint,
        "port": settings.port,
        "account_id": settings.account,
        "region": settings.region,
        "vpc_cidr": settings.vpc_cidr,
        "ca_file": str(settings.ca_file),
        "signing_key": str(settings.signing_key),
        "signing_public_key": str(settings.signing_public_key),
        "base_image": "",
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "pid": os.getpid(),
        **runtime.facts,
    }
    write_atomically(settings.facts_file, json.dumps(facts, indent=2) + "\n")


def save_now() -> None:
    """Write the emulator's state, as it does itself at its end: a killed sandbox loses seconds, not everything."""
    application = emulator.app()
    emulator.core("persistence").save_all(application._build_persistence_save_dict())


def _keep_saving(runtime: Runtime, ended: threading.Event) -> None:
    rounds = 0
    while not ended.wait(SAVE_SECONDS):
        rounds += 1
        # Now and then without a known change as well: what happens by itself (a task ends) and what failed to be saved.
        if runtime.take_changed() or rounds % 20 == 0:
            save_now()


def _end(number: signal.Signals, stop: asyncio.Event) -> None:
    log.info("ending on %s", number.name)
    stop.set()


async def _serve(settings: Settings, runtime: Runtime, door: FrontDoor) -> None:
    hypercorn: Any = emulator.module("hypercorn.asyncio")
    config = emulator.module("hypercorn.config").Config()
    config.bind = [f"127.0.0.1:{settings.port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 2
    config.shutdown_timeout = 10
    config.startup_timeout = 60
    config.loglevel = "WARNING"
    config.accesslog = None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, number, stop)

    async def told_to_end() -> None:
        await stop.wait()
        await runtime.websockets.close()

    await hypercorn.serve(door, config, shutdown_trigger=told_to_end)


def main(settings: Settings) -> int:
    """Serve in the foreground until SIGTERM or SIGINT."""
    logfile.configure(settings.log_file)
    try:
        pid_file = hold_pid_file(settings)
        claim = claim_range(settings)
    except (AlreadyRunning, OSError) as error:
        print(f"sandbox: cannot start: {error}", file=sys.stderr)
        return 1
    with pid_file, claim:
        try:
            signing_key.ensure(settings)
            runtime, door = build(settings)
        except (behaviours.UnknownBehaviour, signing_key.SigningKeyError) as error:
            print(f"sandbox: cannot start: {error}", file=sys.stderr)
            return 1
        ended = threading.Event()
        threading.Thread(target=_keep_saving, args=(runtime, ended), name="saver", daemon=True).start()
        try:
            asyncio.run(_serve(settings, runtime, door))
        finally:
            ended.set()
            settings.facts_file.unlink(missing_ok=True)
            runtime.processes.close()
            runtime.recording.close()
            runtime.audit.close()
            log.info("down")
            settings.pid_file.unlink(missing_ok=True)
            # Threads of the emulator may still wait for something; what had to be saved is saved.
            sys.stdout.flush()
            os._exit(0)
