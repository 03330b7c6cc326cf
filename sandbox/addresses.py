"""Gives out private addresses of the VPC's subnets; an address that was given back is not used again soon."""

from __future__ import annotations

import ipaddress
import random
import threading
from collections.abc import Callable

# AWS keeps the first four addresses and the last one of each subnet.
# https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
RESERVED_AT_START = 4
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


class NoAddress(Exception):
    """The subnet has no free address left."""


def is_ours(address: str) -> bool:
    """Whether an address or a network is loopback: others belong to real hosts and are never bound or connected to."""
    try:
        return ipaddress.IPv4Network(address).subnet_of(LOOPBACK)
    except ValueError:
        return False


class Addresses:
    """Who has which address. Each subnet is walked through in a circle before an address comes again.

    The walk begins at `first` (of the number of usable addresses): anywhere, so that a restart does not reuse them.
    """

    def __init__(self, first: Callable[[int], int] = random.randrange) -> None:
        self._first = first
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._cursor: dict[str, int] = {}

    def take(self, cidr: str) -> str:
        """A free address of the subnet. Raises NoAddress."""
        network = ipaddress.ip_network(cidr)
        usable = network.num_addresses - RESERVED_AT_START - 1
        with self._lock:
            start = self._cursor.setdefault(cidr, self._first(usable))
            for step in range(usable):
                place = (start + step) % usable
                address = str(network[RESERVED_AT_START + place])
                if address not in self._taken:
                    self._taken.add(address)
                    self._cursor[cidr] = place + 1
                    return address
        raise NoAddress(f"subnet {cidr} has no free address")

    def take_to_listen(self, cidr: str) -> str:
        """As take(), for an address that a process will bind: only loopback is ours. Raises NoAddress."""
        if not is_ours(cidr):
            raise NoAddress(f"subnet {cidr} lies outside 127.0.0.0/8, and nothing here listens anywhere else")
        return self.take(cidr)

    def claim(self, address: str) -> None:
        """Mark an address that is already in use (restored state)."""
        with self._lock:
            self._taken.add(address)

    def release(self, address: str) -> None:
        with self._lock:
            self._taken.discard(address)
