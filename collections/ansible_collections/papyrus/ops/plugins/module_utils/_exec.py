# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command in a container of an ECS task through ECS Exec, from choosing the task to its exit code."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import _exec_command as words
from . import _exec_files, _exec_task
from ._aws import AwsFailure
from ._calls import Calls
from ._exec_output import Final, Recorder
from ._exec_session import Conversation, Ending, Limits, Transport
from ._exec_task import CannotRun, Place
from ._exec_types import MAX_OUTPUT, Command, ExecOutcome, ExecResult, Files, Target
from ._names import rfc3339, utc_now
from ._poller import Done, GoOn, Hopeless, Judgement, poll
from ._redaction import Redactor
from ._ssm_channel import Channel
from ._ssm_crypto import DataKey, EncryptionFailure
from ._ssm_socket import Disconnected, Socket

__all__ = ["MAX_OUTPUT", "Command", "ExecResult", "Files", "Target", "World", "plan_command", "run_command"]

NO_FILES = Files()

RUNNER_HINT = (
    "The runner needs ecs:ExecuteCommand on cluster and task, with an encrypted session kms:GenerateDataKey too."
)

READY_SECONDS = 10.0
"""For the shell to be ready, however little is left of the time to connect: the agent itself waits for one second."""

KILL_SECONDS = 15.0
"""For the session that ends another one's command."""

_NOT_CONNECTED = "TargetNotConnectedException"


@dataclass(frozen=True)
class World:
    """Clocks and the network, so that tests have their own."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], dt.datetime] = utc_now
    connect: Callable[..., Transport] = Socket


@dataclass(frozen=True)
class _Session:
    """ExecuteCommand's answer. The token is secret: who has it can type into the container."""

    id: str
    url: str
    token: str = field(repr=False)


def plan_command(clients: Callable[[str], Any], target: Target, command: Command) -> ExecResult:
    """For check mode: reads only, runs nothing; `not_run` with a reason that says what would run, and where."""
    calls = Calls(clients)
    text = words.shell_text(command.command, command.argv)
    result = ExecResult("not_run", "", request_ids=calls.request_ids)
    try:
        place = _exec_task.find(calls, target, 0, clock=time.monotonic, sleep=time.sleep)
    except (CannotRun, AwsFailure) as exc:
        where = f"task {target.task}" if target.task else f"service {target.service}"
        result.reason = f"check mode: would run in {where}, where it is not possible now: {exc}; the command: {text}"
        return result
    result.task_arn, result.container = place.task_arn, place.name
    result.reason = f"check mode: would run in {place}: {text}"
    return result


def run_command(
    clients: Callable[[str], Any],
    target: Target,
    command: Command,
    files: Files = NO_FILES,
    world: World | None = None,
) -> ExecResult:
    """Runs one command and waits for it. What AWS, the network or the container do is never raised but the outcome.

    ValueError only for a caller's mistake, OSError when log or recording cannot be written. Secrets that the run knows
    are taken out of `output` and `reason` when `files.private` is given.
    """
    text = words.shell_text(command.command, command.argv)
    _exec_files.check(files)
    redactor = Redactor(files.private) if files.private else None
    run = _Run(Calls(clients), target, command, words.wrap(text, command.stdin), world or World())
    result, final = run.result(redactor)
    _exec_files.write(files, text, result, final, redactor)
    return result


class _Run:
    """One command on its way; `place` and `session` are known as far as it came."""

    def __init__(self, calls: Calls, target: Target, command: Command, wrapped: words.Wrapped, world: World) -> None:
        self.calls = calls
        self.target = target
        self.command = command
        self.wrapped = wrapped
        self.world = world
        self.began = world.clock()
        self.recorder = Recorder(command.max_output, world.clock)
        self.place: Place | None = None
        self.session: _Session | None = None

    def result(self, redactor: Redactor | None) -> tuple[ExecResult, Final]:
        copies = _exec_task.session_logging(self.calls, self.target.cluster)
        outcome, reason, rc = self._outcome()
        now, clock = self.world.now(), self.world.clock()
        start = self.began if self.recorder.started is None else self.recorder.started
        end = clock if self.recorder.ended is None else self.recorder.ended
        final = self.recorder.final(redactor, end - start)
        result = ExecResult(
            outcome=outcome,
            reason=redactor.redact_text(reason) if redactor else reason,
            rc=rc,
            output=final.data,
            truncated=final.truncated,
            output_bytes=final.total,
            stdin_sha256=self.wrapped.stdin_sha256,
            task_arn=self.place.task_arn if self.place else "",
            container=self.place.name if self.place else "",
            session_id=self.session.id if self.session else "",
            started_at=rfc3339(now - dt.timedelta(seconds=clock - start), microseconds=True),
            ended_at=rfc3339(now - dt.timedelta(seconds=clock - end), microseconds=True),
            duration=round(end - start, 3),
            exec_logging=copies,
            request_ids=self.calls.request_ids,
        )
        return result, final

    def _outcome(self) -> tuple[ExecOutcome, str, int | None]:
        """How it went, why, and the exit code."""
        try:
            place = self.place = _exec_task.find(
                self.calls,
                self.target,
                self.command.connect_timeout,
                clock=self.world.clock,
                sleep=self.world.sleep,
            )
            left = self._left()
            session = self.session = execute(
                self.calls, self.target.cluster, place, self.wrapped.text, left, self.world
            )
            transport = _connect(self.calls, session, self._left(), self.world)
        except (CannotRun, AwsFailure, Disconnected) as exc:
            return "not_run", f"the command was not started: {exc}", None
        ending = self._converse(transport, place, session)
        return self._judge(ending, place)

    def _left(self) -> float:
        return max(1.0, self.command.connect_timeout - (self.world.clock() - self.began))

    def _converse(self, transport: Transport, place: Place, session: _Session) -> Ending:
        given = self.command.connect_timeout
        limits = Limits(max(self._left(), min(given, READY_SECONDS)), given, self.command.timeout)
        channel = _channel(self.calls, place, session, self.world)

        def kill(pid: int, tag: str) -> str:
            return _kill(self.calls, self.target.cluster, place, self.world, words.kill_text(pid, tag))

        return Conversation(transport, channel, self.wrapped, self.recorder, limits, kill).run()

    def _judge(self, ending: Ending, place: Place) -> tuple[ExecOutcome, str, int | None]:
        if ending.timed_out:
            return "timed_out", f"it ran longer than {self.command.timeout:g} s; {ending.reason}", None
        if ending.rc is not None:
            return "exited", f"exit code {ending.rc}", ending.rc
        reason = ending.reason
        if ending.lost:
            became = _exec_task.fate(
                self.calls, self.target.cluster, place, clock=self.world.clock, sleep=self.world.sleep
            )
            reason = f"{reason}; {became}"
        if ending.may_have_run:
            return "indeterminate", f"nobody knows how the command ended: {reason}", None
        return "not_run", f"the command was not started: {reason}", None


def _kill(calls: Calls, cluster: str, place: Place, world: World, text: str) -> str:
    """A second session in the same container ends the processes of the first one's command; says what came of it."""
    lost = "it may still run in the container"
    wrapped = words.wrap(text)
    recorder = Recorder(1024, world.clock)
    try:
        session = execute(calls, cluster, place, wrapped.text, KILL_SECONDS, world)
        transport = _connect(calls, session, KILL_SECONDS, world)
    except (CannotRun, AwsFailure, Disconnected) as exc:
        return f"{lost}: {exc}"
    channel = _channel(calls, place, session, world)
    limits = Limits(KILL_SECONDS, KILL_SECONDS, KILL_SECONDS)
    ending = Conversation(transport, channel, wrapped, recorder, limits, lambda pid, tag: lost).run()
    killed = recorder.final(None, 0.0).data.strip()
    if ending.rc != 0 or not killed.isdigit():
        return f"{lost}: {ending.reason or 'its processes could not be looked for'}"
    return f"{int(killed)} processes of it were killed in the container" if int(killed) else "nothing of it was left"


def execute(calls: Calls, cluster: str, place: Place, text: str, timeout: float, world: World) -> _Session:
    """ExecuteCommand, again and again while the agent is not connected. CannotRun, AwsFailure."""
    _keep_token_out_of_logs()

    def observe() -> _Session | AwsFailure:
        try:
            answer = calls.call(
                "ecs",
                "execute_command",
                str(place),
                cluster=cluster,
                task=place.task_arn,
                container=place.name,
                command=text,
                interactive=True,
            )
        except AwsFailure as exc:
            return exc
        given = answer["session"]
        return _Session(str(given["sessionId"]), str(given["streamUrl"]), str(given["tokenValue"]))

    def judge(seen: _Session | AwsFailure) -> Judgement:
        if isinstance(seen, _Session):
            return Done()
        return GoOn(str(seen)) if seen.code == _NOT_CONNECTED else Hopeless(str(seen))

    outcome = poll(observe, judge, timeout=timeout, interval=_exec_task.INTERVAL, clock=world.clock, sleep=world.sleep)
    if isinstance(outcome.last, _Session):
        return outcome.last
    text = outcome.reason
    if outcome.last.code == _NOT_CONNECTED:
        text += f" (for {outcome.elapsed:.0f} s)"
    if outcome.last.code.startswith("AccessDenied"):
        raise CannotRun(f"{text} {RUNNER_HINT}")
    raise CannotRun(text + _exec_task.explain_now(calls, cluster, place))


def _connect(calls: Calls, session: _Session, timeout: float, world: World) -> Transport:
    endpoint = str(calls.clients("ecs").meta.endpoint_url)
    return world.connect(session.url, session.token, timeout=timeout, plaintext=endpoint.startswith("http://"))


def _channel(calls: Calls, place: Place, session: _Session, world: World) -> Channel:
    def data_key(key_id: str, context: dict[str, str]) -> DataKey:
        try:
            answer = calls.call(
                "kms",
                "generate_data_key",
                f"key {key_id}",
                hint="The runner needs kms:GenerateDataKey for the key of the cluster's Exec configuration.",
                KeyId=key_id,
                NumberOfBytes=64,
                EncryptionContext=context,
            )
        except AwsFailure as exc:
            raise EncryptionFailure(f"the session is to be encrypted, and there is no data key: {exc}") from exc
        return DataKey(answer["Plaintext"], answer["CiphertextBlob"])

    return Channel(
        clock=world.clock,
        wall=lambda: int(world.now().timestamp() * 1000),
        keys=data_key,
        context={"aws:ssm:SessionId": session.id, "aws:ssm:TargetId": place.target_id},
    )


class _TokenFilter(logging.Filter):
    """botocore's parser logs whole answers at debug level, and ExecuteCommand's has the token in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "tokenValue" not in record.getMessage()


_TOKEN_FILTER = _TokenFilter()


def _keep_token_out_of_logs() -> None:
    logging.getLogger("botocore.parsers").addFilter(_TOKEN_FILTER)  # adding it twice adds it once
