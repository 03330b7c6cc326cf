"""What programs use as the kernel counts it: CPU time and memory of one with all that it started."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
PSS = "Pss:"


@dataclass(frozen=True)
class Usage:
    # CPU time so far, with that of whoever has ended below it.
    seconds: float = 0.0
    # Memory: what is shared counts once, divided among those who share it.
    bytes: int = 0
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.seconds + other.seconds, self.bytes + other.bytes, self.processes + other.processes)


class Snapshot:
    """All processes of this machine at one moment, read once for however many are asked for."""

    def __init__(self) -> None:
        self._children: dict[int, list[int]] = {}
        self._fields: dict[int, list[str]] = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    text = Path(entry.path, "stat").read_text(errors="replace")
                    # The command name may hold spaces and brackets: the fields start after the last one.
                    fields = text.rpartition(")")[2].split()
                    self._fields[int(entry.name)] = fields
                    self._children.setdefault(int(fields[1]), []).append(int(entry.name))

    def of(self, root: int) -> Usage:
        """Of the program with this pid and all below it; nothing when it is gone."""
        found, open_ends = Usage(), [root] if root in self._fields else []
        while open_ends:
            pid = open_ends.pop()
            fields = self._fields[pid]
            # utime, stime, and the same two of children that were waited for (proc_pid_stat(5)).
            seconds = sum(int(value) for value in fields[11:15]) / TICKS
            found += Usage(seconds, _memory(pid, int(fields[21]) * PAGE_BYTES), 1)
            open_ends += self._children.get(pid, [])
        return found


def _memory(pid: int, resident: int) -> int:
    """Proportional set size in bytes; the resident size where that is not to be had, 0 of what is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(errors="replace")
    except ProcessLookupError:
        return 0
    except OSError:
        return resident if Path(f"/proc/{pid}").exists() else 0
    found = (int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(PSS))
    return next(found, resident)
