"""Where a sandbox lives and which addresses are its own: chosen once per checkout, kept across down and up."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ROOT_VARIABLE = "PAPYRUS_SANDBOX_ROOT"
# How ECS tasks run: as processes, or as containers of the program that is named.
ENGINE_VARIABLE, PROCESSES = "PAPYRUS_SANDBOX_ENGINE", "processes"
ACCOUNT = "123456789012"
REGION = "us-west-2"
ACCESS_KEY_ID = "test"
# Too short to be taken for a secret by a run. Ansible takes it out of every result all the same, so it is no word: a
# path with "test" in it would come back as "********".
SECRET_ACCESS_KEY = "k.e.y"
# Below the kernel's ephemeral range (32768 and up), so that no outgoing connection takes the port while we are down.
PORTS = range(20000, 30000)
# 127.0 is everybody's; 127.53 is systemd-resolved's; the rest of 127.0.0.0/8 is loopback on Linux.
OCTETS = [octet for octet in range(16, 250) if octet != 53]
# Held on <vpc>.0.2 (the address AWS reserves for DNS in a VPC) by a running sandbox: the claim on the whole /16.
CLAIM_PORT = 20053


class AddressError(Exception):
    """No address could be had; the message says which and what to do."""


@dataclass(frozen=True)
class Settings:
    """One sandbox: `root` holds `.sandbox/`; `port` is the gateway's; `octet` the second one of the VPC's range."""

    root: Path
    port: int
    octet: int
    account: str = ACCOUNT
    region: str = REGION
    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = SECRET_ACCESS_KEY
    engine: str = PROCESSES

    @property
    def home(self) -> Path:
        return self.root / ".sandbox"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def vpc_cidr(self) -> str:
        return f"127.{self.octet}.0.0/16"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def claim(self) -> tuple[str, int]:
        return (f"127.{self.octet}.0.2", CLAIM_PORT)

    @property
    def pid_file(self) -> Path:
        return self.home / "sandbox.pid"

    @property
    def log_file(self) -> Path:
        return self.home / "sandbox.log"

    @property
    def facts_file(self) -> Path:
        return self.home / "sandbox.json"

    @property
    def ca_file(self) -> Path:
        """The sandbox's certificate authority: RDS instances and HTTPS listeners are signed by it."""
        return self.state / "tls" / "ca.pem"

    @property
    def signing_key(self) -> Path:
        """Private key for evidence that is made against this sandbox; outside of `state`, so that it outlives that."""
        return self.home / "evidence" / "signing-key.pem"

    @property
    def signing_public_key(self) -> Path:
        return self.home / "evidence" / "signing-key.pub.pem"

    @property
    def terraform_rc(self) -> Path:
        """Tools are the checkout's, whatever root the state has."""
        return CHECKOUT / ".sandbox" / "terraform" / "terraform.rc"


def default_root() -> Path:
    """The checkout, unless PAPYRUS_SANDBOX_ROOT names another folder (a second sandbox of the same checkout)."""
    return Path(os.environ.get(ROOT_VARIABLE) or CHECKOUT).resolve()


def load_settings(root: Path | None = None) -> Settings:
    """Settings of the sandbox in `root`; its address is chosen at the first call and read back ever after.

    Raises AddressError when no free address is found.
    """
    root = (root or default_root()).resolve()
    file = root / ".sandbox" / "state" / "address.json"
    kept = _read_address(file)
    if kept is None:
        kept = _choose_address(root)
        write_atomically(file, json.dumps({"port": kept[0], "octet": kept[1]}) + "\n")
    return Settings(root=root, port=kept[0], octet=kept[1], engine=os.environ.get(ENGINE_VARIABLE) or PROCESSES)


def settings_to_start(root: Path) -> Settings:
    """Settings with an address that is free now: a taken port is changed, a taken range only before it is in use.

    Raises AddressError when subnets already lie in a range that somebody else holds.
    """
    settings = load_settings(root)
    port, octet = settings.port, settings.octet
    if not is_free("127.0.0.1", port):
        port = _choose_address(root)[0]
    if not is_free(*settings.claim):
        if (settings.state / "emulator" / "ec2.json").exists():
            raise AddressError(
                f"{settings.vpc_cidr} is held by another sandbox and subnets of this one lie in it: "
                f"end the other one, or remove {settings.state} to start afresh"
            )
        octet = _choose_address(root)[1]
    if (port, octet) != (settings.port, settings.octet):
        write_atomically(settings.state / "address.json", json.dumps({"port": port, "octet": octet}) + "\n")
    return Settings(root=settings.root, port=port, octet=octet)


def _read_address(file: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_text())
        port, octet = int(kept["port"]), int(kept["octet"])
        if port in PORTS and octet in OCTETS:
            return port, octet
    return None


def _choose_address(root: Path) -> tuple[int, int]:
    # Seeded by the folder: the same checkout tries the same addresses first, two checkouts hardly ever the same ones.
    order = random.Random(str(root))
    octet = next((o for o in _shuffled(order, OCTETS) if is_free(f"127.{o}.0.2", CLAIM_PORT)), None)
    port = next((p for p in _shuffled(order, list(PORTS)) if is_free("127.0.0.1", p)), None)
    if octet is None or port is None:
        raise AddressError("no free loopback range or port is left: end another sandbox (make sandbox-down there)")
    return port, octet


def _shuffled(order: random.Random, values: list[int]) -> Iterator[int]:
    yield from order.sample(values, len(values))


def is_free(host: str, port: int) -> bool:
    """Whether a listener could bind there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def write_atomically(file: Path, text: str, mode: int = 0o644) -> None:
    """Readers see the old text or the new one, never half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as stream:
        stream.write(text)
    scratch.replace(file)
