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
        "from sandbox.elbv2.forwarding import Exchange, TargetError\n"
        "asyncio.open_connection = None\n"
        "try: asyncio.run(Exchange.open('172.31.16.5', 5000, 1, 1))\n"
        "except TargetError as error: print(error.status)"
    )
    assert in_the_sandbox(code) == "504"


TRIES = """
import asyncio, socket, urllib.request
from sandbox import loopback
loopback.install()
def tried(call):
    try: call()
    except loopback.NotLoopback: return "kept"
    except OSError as error: return type(error.__cause__ or error).__name__ + str(getattr(error, "reason", ""))
    return "passed"
with socket.socket() as one, socket.socket(type=socket.SOCK_DGRAM) as two, socket.socket() as three:
    print(tried(lambda: one.connect(("192.0.2.1", 80))), tried(lambda: two.sendto(b"x", ("192.0.2.1", 53))),
          tried(lambda: three.bind(("0.0.0.0", 0))), tried(lambda: socket.getaddrinfo("example.test", 80)))
    try: asyncio.run(asyncio.open_connection("192.0.2.1", 80))
    except loopback.NotLoopback: print("kept", end=" ")
    try: urllib.request.urlopen("http://example.test/", timeout=1)
    except OSError as error: print(type(error.reason).__name__)
    three.bind(("127.0.0.1", 0)); three.listen()
    print(tried(lambda: one.connect(three.getsockname())), tried(lambda: socket.getaddrinfo("localhost", 80)))
"""


def test_nothing_in_the_process_reaches_others_whatever_it_tries() -> None:
    assert in_the_sandbox(TRIES).splitlines() == ["kept kept kept kept", "kept NotLoopback", "passed passed"]
