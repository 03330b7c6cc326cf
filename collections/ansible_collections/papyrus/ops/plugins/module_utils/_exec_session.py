# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The conversation with a container's shell over a data channel: get ready, start the command, wait, end it in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from . import _exec_command as words
from ._exec_output import Recorder
from ._ssm_channel import Channel, ChannelFailure, Closed, Event, Notice, Output
from ._ssm_socket import Disconnected

CLOSE_GRACE = 2.0
"""Seconds for the channel to close after the command's end; output until then still counts."""

INTERRUPT_GRACE, TERMINATE_GRACE, KILL_GRACE = 3.0, 1.0, 3.0
"""Seconds for a command that ran too long to end by Ctrl-C, by the end of its session, and when it was killed."""

_LOOK = 1.0


class Transport(Protocol):
    def send(self, message: bytes) -> None: ...

    def receive(self, timeout: float) -> bytes | None: ...

    def close(self) -> None: ...


Killer = Callable[[int, str], str]
"""Ends the command's processes by another way (process id of its shell, tag) and says what came of it."""


@dataclass(frozen=True)
class Limits:
    """Seconds: until the shell is ready, between two signs that its input arrives, and for the command itself."""

    ready: float
    progress: float
    command: float


@dataclass
class Ending:
    """How it ended. `rc` is an int when the last mark was seen, `timed_out` says by which means it was ended."""

    begun: bool = False
    may_have_run: bool = False
    rc: int | None = None
    timed_out: bool = False
    reason: str = ""
    lost: bool = False


class Conversation:
    """One command. `kill` is asked when neither Ctrl-C nor the end of the session has ended it."""

    def __init__(
        self,
        transport: Transport,
        channel: Channel,
        wrapped: words.Wrapped,
        recorder: Recorder,
        limits: Limits,
        kill: Killer,
    ) -> None:
        self._transport = transport
        self._channel = channel
        self._clock = channel.clock
        self._wrapped = wrapped
        self._recorder = recorder
        self._parser = words.Parser(wrapped, recorder.write, self._clock)
        self._limits = limits
        self._kill = kill
        self._ending = Ending()
        self._stage: Literal["waiting", "sending", "running", "interrupted", "terminated", "killed", "ended"] = (
            "waiting"
        )
        self._deadline = self._clock() + limits.ready
        self._acknowledged = 0
        self._notices: list[str] = []
        self._pid = 0
        self._done = False
        self._open = True

    def run(self) -> Ending:
        """Leads it to its end; whatever happens to the channel is part of the answer."""
        try:
            while not self._done:
                self._step()
        except Disconnected as exc:
            self._open = False
            self._lost(str(exc))
        except ChannelFailure as exc:
            self._lost(str(exc))
        except BaseException:  # whoever stops this program does not want the command to go on
            self._leave()
            raise
        self._parser.end()
        if self._recorder.ended is None:
            self._recorder.end()
        self._leave()
        self._ending.may_have_run = self._ending.begun or (self._stage != "waiting" and self._channel.unsent == 0)
        return self._ending

    def _step(self) -> None:
        self._send()
        resend = self._channel.wait()
        wait = min(self._deadline - self._clock(), _LOOK if resend is None else resend, _LOOK)
        data = self._transport.receive(max(0.0, wait))
        if data is not None:
            self._channel.received(data)
            for event in self._channel.events():
                self._take(event)
        if not self._done:
            self._look()

    def _send(self) -> None:
        for message in self._channel.due():
            self._transport.send(message)

    def _take(self, event: Event) -> None:
        if isinstance(event, Output):
            for step in self._parser.feed(event.data):
                self._follow(step)
        elif isinstance(event, Notice):
            self._notices.append(event.text)
        elif isinstance(event, Closed):
            self._send()
            self._open = False
            self._lost(event.text or "the session was closed")

    def _follow(self, step: words.Step) -> None:
        if isinstance(step, words.Ready):
            self._pid = step.pid
            if step.echo and self._wrapped.stdin is not None:
                self._end("the container has no stty: stdin would be echoed into the session's log, it is not sent")
                return
            self._stage = "sending"
            self._deadline = self._clock() + self._limits.progress
            self._channel.send_size(words.COLUMNS, words.ROWS)
            for line in self._wrapped.lines:
                self._channel.send(line)
        elif isinstance(step, words.Begun):
            self._ending.begun = True
            self._recorder.start()
            self._stage = "running"
            self._deadline = self._clock() + self._limits.command
        elif isinstance(step, words.Refused):
            self._stage = "waiting"  # the shell has given up before the command
            self._end(step.text)
        elif isinstance(step, words.Exited):
            self._ended(step.rc)

    def _ended(self, rc: int) -> None:
        self._ending.rc = rc
        self._recorder.end()
        self._channel.send(words.THANKS)
        if self._ending.timed_out:
            self._end(
                "it was ended by Ctrl-C" if self._stage == "interrupted" else "it ended when its session was ended"
            )
        elif self._stage == "running":
            self._stage = "ended"
            self._deadline = self._clock() + CLOSE_GRACE

    def _look(self) -> None:
        """What is due by time: progress, the command's own limit, the next means to end it."""
        now = self._clock()
        if self._stage == "sending" and self._channel.acknowledged != self._acknowledged:
            self._acknowledged = self._channel.acknowledged
            self._deadline = now + self._limits.progress
        if now < self._deadline:
            return
        if self._stage == "waiting":
            self._end(f"the shell in the container was not ready within {self._limits.ready:g} s{self._said()}")
        elif self._stage == "sending":
            self._end(f"the container took no input for {self._limits.progress:g} s")
        elif self._stage == "running":
            self._ending.timed_out = True
            self._stage, self._deadline = "interrupted", now + INTERRUPT_GRACE
            self._channel.send(words.INTERRUPT)
        elif self._stage == "interrupted":
            self._stage, self._deadline = "terminated", now + TERMINATE_GRACE
            self._channel.send_terminate()
        elif self._stage == "terminated":
            self._killed()
        else:
            self._done = True

    def _killed(self) -> None:
        self._ending.reason = self._kill(self._pid, self._wrapped.tag)
        self._stage, self._deadline = "killed", self._clock() + KILL_GRACE

    def _end(self, reason: str) -> None:
        self._ending.reason = reason
        self._done = True

    def _lost(self, reason: str) -> None:
        """No more will come. Behind a mark, or a command that was to be ended, that is as it should be."""
        self._done = True
        if self._stage == "ended" or self._ending.rc is not None:
            return
        if self._ending.timed_out:
            if self._stage != "killed":  # a process need not mind that its terminal has gone
                self._killed()
            return
        self._ending.lost = True
        gap = "; output was missing before its end" if self._channel.gap else ""
        self._ending.reason = f"{reason}{self._said()}{gap}"

    def _said(self) -> str:
        """What agent and session said instead of a ready shell."""
        texts = [*self._notices, self._parser.preamble.decode("utf-8", "replace")]
        said = " ".join(" ".join(texts).split())
        return f" (it said: {said})" if said else ""

    def _leave(self) -> None:
        """Leaves nothing behind in the container: what still runs is interrupted, a shell that reads gets the end."""
        try:
            if not self._open:
                return
            if self._ending.rc is None:
                self._channel.send(words.INTERRUPT + words.END_OF_INPUT)
            self._channel.send_terminate()
            self._send()
        except Disconnected:
            return
        finally:
            self._transport.close()
