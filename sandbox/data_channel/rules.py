"""What a data channel does as ECS Exec's does, each by itself."""

from __future__ import annotations

import contextlib

from sandbox.behaviours import behaviour
from sandbox.data_channel import words

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4


@behaviour("ssmmessages", stateful=False, otherwise=lambda command: ["sh", "-c", command])
def command_is_started_without_a_shell(command: str) -> list[str]:
    """In a container the agent splits a command into words itself (google/shlex) and starts it without a shell.

    https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/shell/shell_unix.go

    Raises words.UnfinishedCommand.
    """
    try:
        return words.split(command) or ["sh"]
    except words.UnfinishedCommand as error:
        raise words.UnfinishedCommand(f"Failed to parse commands input: {error}\n") from error


@behaviour("ssmmessages", otherwise=lambda *_: "")
def failure_is_told_at_the_close(text: str) -> str:
    """A command that cannot be started ends its session, and the Output of channel_closed says why.

    https://github.com/aws/session-manager-plugin/blob/mainline/src/datachannel/streaming.go
    """
    return f"----------ERROR-------\n{text}"


def as_go_says(program: str, error: str) -> str:
    """What Go's os/exec says of a program that cannot be started, from `<name>: <reason of the system>: <file>`."""
    reason = error.partition(": ")[2].partition(":")[0].lower()
    if "/" in program:
        return f"fork/exec {program}: {reason}"
    return f'exec: "{program}": executable file not found in $PATH'


@behaviour("ssmmessages", otherwise=lambda *_: False)
def input_waits_for_the_handshake(shaking_hands: bool) -> bool:
    """While a handshake is under way, the agent acknowledges input and drops it.

    https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/datachannel/datachannel.go
    """
    return shaking_hands


@behaviour("ssmmessages", otherwise=lambda *_: False)
def output_is_sent_again(waited: float, timeout: float) -> bool:
    """The oldest frame of output is sent again while its acknowledgement is missing, after 200 ms, later up to 1 s.

    https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/config/config.go
    """
    return waited > timeout


@behaviour("ssmmessages", otherwise=lambda *_: False)
def input_comes_but_once(number: int, expected: int) -> bool:
    """A frame of input that was typed already is acknowledged and not typed again.

    https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/datachannel/datachannel.go
    """
    return number < expected


@behaviour("ssmmessages", otherwise=lambda number, expected: number == expected)
def input_ahead_of_its_turn_is_kept(number: int, expected: int) -> bool:
    """A frame of input ahead of its turn is acknowledged, kept, and typed after those before it.

    https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/datachannel/datachannel.go
    """
    return number >= expected


@behaviour("ssmmessages", otherwise=lambda *_: False)
def session_ends_when_idle(idle: float, limit: float) -> bool:
    """A session of ECS Exec ends after 20 minutes without input and output.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
    """
    return idle > limit


@behaviour("ssmmessages", otherwise=lambda *_: True)
def session_ends_with_its_container(status: str) -> bool:
    """A session ends when its container does.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html

    Gives whether it may go on.
    """
    return status == "running"


@behaviour("ssmmessages", stateful=False, otherwise=lambda data: (data, b""))
def output_goes_by_whole_characters(data: bytes) -> tuple[bytes, bytes]:
    """A frame of output ends with a whole UTF-8 character: up to three bytes that are none yet wait for the next.

    https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/shell/shell.go (processStdoutData)

    Gives (what is sent, what waits). What is no character is passed on byte by byte; at the very end of the output it
    is lost. Of a true U+FFFD, which Go takes for an error of its own, the agent passes on the first byte only.
    """
    with contextlib.suppress(UnicodeDecodeError):
        if REPLACEMENT not in data.decode():
            return data, b""
    sent = bytearray()
    place = 0
    while place < len(data):
        character = _character(data[place : place + LONGEST_CHARACTER])
        if character and character != REPLACEMENT:
            size = len(character.encode())
            sent += data[place : place + size]
            place += size
        elif len(data) - place < LONGEST_CHARACTER:
            break
        else:
            sent.append(data[place])
            place += len(character.encode()) if character else 1
    return bytes(sent), data[place:]


def _character(data: bytes) -> str:
    """The character that these bytes begin with, if they do."""
    for size in range(1, len(data) + 1):
        with contextlib.suppress(UnicodeDecodeError):
            return data[:size].decode()
    return ""
