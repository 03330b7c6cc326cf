"""The sandbox's log: its own events and the emulator's warnings, bounded in size."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

# At most this much in the log, and as much again of the time before in `<name>.1`.
LARGEST = 5 * 1024 * 1024


def configure(file: Path) -> None:
    """Log to stdout, which `up` has made the log file; `serve` by hand has a terminal there, and nothing is bounded."""
    handler = BoundedHandler(sys.stdout, file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # The emulator's loggers have plain names of their own (ecs, persistence, …): the root's level is theirs.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("sandbox").setLevel(logging.INFO)


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes to `stream`; when that is `file` and has grown over `largest` bytes, its content moves to `<name>.1`.

    The file is copied and cut, not renamed: tracebacks and the server's own messages reach it through descriptors that
    were open before. All of them append.
    """

    def __init__(self, stream: TextIO, file: Path, largest: int = LARGEST) -> None:
        super().__init__(stream)
        self._file = file
        self._largest = largest

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        try:
            status = os.fstat(self.stream.fileno())
            if status.st_size > self._largest and os.path.samestat(status, self._file.stat()):
                shutil.copyfile(self._file, self._file.with_name(f"{self._file.name}.1"))
                os.truncate(self._file, 0)
        except OSError:
            self.handleError(record)
