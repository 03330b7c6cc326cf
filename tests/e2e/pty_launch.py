"""Puts a terminal before a command: runs it on a pseudo one, and copies what a person would see to its own output."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios

COLUMNS = 120
PAINTED = re.compile(r"[\r\n]([^\r\n]*)\x1b\[K(?=[\r\n])")
"""In an output that has been read with any end of a line as one."""


def painted(output: str) -> list[str]:
    """Each line of progress that stood on the terminal, in order."""
    return [line for line in PAINTED.findall(output) if line]


def main(command: list[str]) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("4H", 24, COLUMNS, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        os.execve(command[0], command, environment | {"TERM": "xterm"})
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: nobody has it open any more
            break
        os.write(1, data)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
