"""Brings what containers write to CloudWatch Logs while they run: one thread for all of them."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.containers import Container

log = logging.getLogger("sandbox.logs")
READ_SECONDS = 0.2
CHUNK = 256 * 1024
# A line without an end is cut there, as the log driver cuts it.
# https://docs.docker.com/engine/logging/drivers/awslogs/
LONGEST_LINE = 256 * 1024
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
MOST_EVENTS = 10_000


@dataclass
class Tail:
    """One container's output, and where it goes."""

    container: Container
    account: str
    region: str
    group: str
    stream: str
    source: IO[bytes]
    rest: bytes = b""


class LogShipper:
    """`follow` is called once for each container; a stream ends by itself after its container."""

    def __init__(self, ecs: Any) -> None:
        self._ecs = ecs
        self._lock = threading.Lock()
        self._tails: list[Tail] = []
        self._thread: threading.Thread | None = None

    def follow(self, container: Container, definition: dict[str, Any], task_id: str) -> None:
        """In the request scope of the task. Nothing without `awslogs`, or when group and stream cannot be had.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
        """
        config = self._ecs._awslogs_config(definition, task_id, container.id)
        if not config:
            return
        responses = emulator.core("responses")
        account, region = responses.get_account_id(), config["region"] or responses.get_region()
        with emulator.request_scope(account, region):
            if not self._ecs._ensure_awslogs_stream(config):
                return
        source = container.log_file.open("rb")
        tail = Tail(container, account, region, config["group"], config["stream"], source)
        with self._lock:
            self._tails.append(tail)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="container-logs", daemon=True)
                self._thread.start()

    def _loop(self) -> None:
        while True:
            with self._lock:
                tails = list(self._tails)
            for tail in tails:
                try:
                    ended = self._ship(tail)
                except Exception:
                    log.exception("output of %s", tail.container.name)
                    ended = True
                if ended:
                    tail.source.close()
                    with self._lock:
                        self._tails.remove(tail)
            time.sleep(READ_SECONDS)

    def _ship(self, tail: Tail) -> bool:
        """Send the whole lines that have come; true when the container has ended and everything is sent."""
        tail.container.reload()
        # Before reading: what was written before the end is read after it.
        ended = tail.container.status not in ("created", "running")
        while data := tail.source.read(CHUNK):
            lines = (tail.rest + data).split(b"\n")
            tail.rest = lines.pop()
            if len(tail.rest) > LONGEST_LINE:
                lines.append(tail.rest)
                tail.rest = b""
            self._send(tail, lines)
        if ended and tail.rest:
            self._send(tail, [tail.rest])
            tail.rest = b""
        return ended

    def _send(self, tail: Tail, lines: list[bytes]) -> None:
        now = int(time.time() * 1000)
        texts = [line.rstrip(b"\r").decode("utf-8", errors="replace") for line in lines]
        events = [{"timestamp": now, "message": text} for text in texts if text]
        with emulator.request_scope(tail.account, tail.region):
            for start in range(0, len(events), MOST_EVENTS):
                part = events[start : start + MOST_EVENTS]
                emulator.service("cloudwatch_logs")._put_log_events(
                    {"logGroupName": tail.group, "logStreamName": tail.stream, "logEvents": part}
                )
