"""An event loop on a thread of its own, for sockets that must go on while the emulator is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any


class Background:
    """Runs coroutines until close(). Thread-safe."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit[Result](self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine; its result or error is in the future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[[], Any]) -> None:
        """Call a function in the loop, soon."""
        self._loop.call_soon_threadsafe(function)

    def close(self, timeout: float = 5) -> None:
        """Cancel what runs and end the thread."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            running = asyncio.all_tasks(self._loop)
            for task in running:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))
            self._loop.close()
