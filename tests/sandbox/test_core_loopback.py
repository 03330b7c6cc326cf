"""Nothing of the local AWS ever listens on, or connects to, an address that is not loopback."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.harness import CHECKOUT

OUTSIDE = ["172.31.16.5", "10.0.0.1", "192.168.1.1", "8.8.8.8", "172.31.0.0/16", "0.0.0.0", "::1", "nonsense"]


def in_the_sandbox(code: str) -> str:
    """Run code where the package and what it needs are installed."""
    python = CHECKOUT / ".sandbox" / "venv" / "bin" / "python"
    done = subprocess.run([str(python), "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_outside_loopback_is_never_ours(address: str) -> None:
    assert in_the_sandbox(f"from sandbox.addresses import is_ours; print(is_ours({address!r}))") == "False"


def test_a_process_gets_no_address_outside_loopback() -> None:
    code = (
        "from sandbox.addresses import Addresses, NoAddress\n"
        "try: print(Addresses().take_to_listen('172.31.0.0/20'))\n"
        "except NoAddress as error: print(error)"
    )
    assert "127.0.0.0/8" in in_the_sandbox(code)


def test_the_load_balancer_connects_to_no_target_outside_loopback() -> None:
    code = (
        "import asyncio, socket\n"
        "from sandbox.forwarding import Exchange, TargetError\n"
        "asyncio.open_connection = None\n"
        "try: asyncio.run(Exchange.open('172.31.16.5', 5000, 1, 1))\n"
        "except TargetError as error: print(error.status)"
    )
    assert in_the_sandbox(code) == "504"
