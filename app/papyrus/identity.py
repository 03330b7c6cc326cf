"""Which task and image answer: read from the ECS metadata endpoint, once, when first asked for."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TASK_ARN = re.compile(r"arn:[A-Za-z0-9:/_.-]{1,500}")
_TASK_LABEL = "com.amazonaws.ecs.task-arn"
_RETRY_AFTER = 15.0  # seconds; an endpoint that fails must not slow down every request


@dataclass(frozen=True)
class Task:
    """`arn` and `image_digest` (`sha256:…`); None is unknown."""

    arn: str | None = None
    image_digest: str | None = None


class Identity:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html"""

    def __init__(
        self,
        uri: str,
        timeout: float = 0.5,
        fetch: Callable[[str, float], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uri = uri.rstrip("/")
        self._timeout = timeout
        self._fetch = fetch or _fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._task = Task()
        self._next = float("-inf") if self._uri else float("inf")

    def get(self) -> Task:
        """What is known. Asks the endpoint until it has answered fully, at most every 15 s, each time bounded."""
        if self._clock() < self._next:
            return self._task
        with self._lock:
            if self._clock() >= self._next:
                self._read()
        return self._task

    def _read(self) -> None:
        try:
            container = self._fetch(self._uri, self._timeout)
            self._task = _task(container)
        except (OSError, ValueError):  # absent headers say that it is not known; nothing else depends on it
            self._next = self._clock() + _RETRY_AFTER
            return
        complete = self._task.arn and self._task.image_digest
        self._next = float("inf") if complete else self._clock() + _RETRY_AFTER


def _task(container: Any) -> Task:
    if not isinstance(container, dict):
        raise ValueError("metadata of the container is not a JSON object")
    labels = container.get("Labels")
    arn = labels.get(_TASK_LABEL) if isinstance(labels, dict) else None
    digest = container.get("ImageID")
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        # No digest from the agent: the reference of the task definition says it when it pins one.
        digest = str(container.get("Image", "")).partition("@")[2]
    return Task(
        arn if isinstance(arn, str) and _TASK_ARN.fullmatch(arn) else None,
        digest if _DIGEST.fullmatch(digest) else None,
    )


def _fetch(uri: str, timeout: float) -> Any:
    if not uri.startswith(("http://", "https://")):
        raise ValueError("the metadata URI is not http")
    # Never through a proxy: the endpoint is link-local.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(uri, timeout=timeout) as response:
        return json.loads(response.read(1 << 20))
