"""How the agent makes words of a command, for no shell does it: https://pkg.go.dev/github.com/google/shlex."""

from __future__ import annotations

from collections.abc import Iterator

SPACE = " \t\r\n"


class UnfinishedCommand(ValueError):
    """A quote that is not closed, or a backslash at the end; the message is the agent's."""


def split(command: str) -> list[str]:
    """Words of a command. Unlike in a shell, a backslash within double quotes is dropped before *any* character."""
    words: list[str] = []
    rest = iter(command)
    for first in rest:
        if first == "#":
            _skip_line(rest)
        elif first not in SPACE:
            words.append("".join(_word(first, rest)))
    return words


def _skip_line(rest: Iterator[str]) -> None:
    for character in rest:
        if character == "\n":
            return


def _word(character: str, rest: Iterator[str]) -> Iterator[str]:
    while character and character not in SPACE:
        if character == "'":
            yield from _until_quote("'", rest)
        elif character == '"':
            yield from _until_quote('"', rest)
        elif character == "\\":
            yield _escaped(rest)
        else:
            yield character
        character = next(rest, "")


def _until_quote(quote: str, rest: Iterator[str]) -> Iterator[str]:
    for character in rest:
        if character == quote:
            return
        yield _escaped(rest) if character == "\\" and quote == '"' else character
    raise UnfinishedCommand("EOF found when expecting closing quote")


def _escaped(rest: Iterator[str]) -> str:
    character = next(rest, "")
    if not character:
        raise UnfinishedCommand("EOF found after escape character")
    return character
