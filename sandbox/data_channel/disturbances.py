"""What a fault does to one data channel: frames lost, doubled, out of turn or damaged, and its early end.

All by count, so that a test gets the same each time. `n` means every nth frame of its kind, counted from 1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

# As the agent decides (a handshake only for encryption), for the session type, for encryption, or never.
HANDSHAKES = ("agent", "session_type", "encryption", "none")


@dataclass(frozen=True)
class Disturbances:
    """Zero, and None, are off."""

    # Frames of the service: sent twice; output sent after the next one; output with a payload that was changed; lost.
    duplicate: int = 0
    reorder: int = 0
    corrupt: int = 0
    lose_output: int = 0
    lose_acks: int = 0
    # Frames of the client that never arrive.
    lose_input: int = 0
    lose_client_acks: int = 0
    # pause_publication after so many frames of output; nothing goes either way until start_publication.
    pause_after: int = 0
    pause_seconds: float = 0.5
    # The connection ends without a word, or the command by SIGKILL, once so many bytes of output were sent.
    cut_after: int | None = None
    kill_after: int | None = None
    handshake: str = "agent"
    # How long the agent waits for each answer of the handshake.
    handshake_seconds: float = 15.0

    @classmethod
    def parse(cls, value: Any) -> Disturbances:
        """Raises ValueError, naming the key."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if not isinstance(value, dict):
            raise ValueError("`stream` is an object")
        if unknown := set(value) - set(fields):
            raise ValueError(f"unknown in `stream`: {', '.join(sorted(unknown))}; there are {', '.join(fields)}")
        for name, given in value.items():
            _check(name, given)
        return cls(**value)


def _check(name: str, given: Any) -> None:
    if name == "handshake":
        if given not in HANDSHAKES:
            raise ValueError(f"`handshake` is one of {', '.join(HANDSHAKES)}")
    elif not (given is None and name in ("cut_after", "kill_after")):
        kinds = (int, float) if name.endswith("_seconds") else (int,)
        if type(given) not in kinds or given < 0:
            raise ValueError(f"`{name}` is a number from 0")


class Count:
    """Whether it is the turn of something again."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._seen = 0

    def due(self) -> bool:
        self._seen += 1
        return bool(self._every) and self._seen % self._every == 0
