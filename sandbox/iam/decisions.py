"""What IAM mode was asked and how it decided: who, which action, on what, by which call."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any

# So many different questions are kept; the rest is counted.
KEPT = 20_000


@dataclass(frozen=True)
class Question:
    """`principal` is the ARN of the role (of the user, of root), `call` the service and operation that raised it."""

    principal: str
    action: str
    resource: str
    call: str
    allowed: bool
    # Sids of the statements that decided, where they have one.
    statements: tuple[str, ...] = ()


@dataclass
class Decisions:
    """How often each question was asked. Any thread."""

    _times: dict[Question, int] = field(default_factory=dict)
    _left_out: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, question: Question) -> None:
        with self._lock:
            if question in self._times or len(self._times) < KEPT:
                self._times[question] = self._times.get(question, 0) + 1
            else:
                self._left_out += 1

    def listed(self) -> dict[str, Any]:
        with self._lock:
            asked = [{**asdict(question), "times": times} for question, times in self._times.items()]
            return {"decisions": asked, "left_out": self._left_out}

    def replace(self, document: Any) -> None:
        """Forget all; nothing else can be set. Raises ValueError."""
        if document:
            raise ValueError("decisions are made, not set: DELETE forgets them")
        with self._lock:
            self._times.clear()
            self._left_out = 0
