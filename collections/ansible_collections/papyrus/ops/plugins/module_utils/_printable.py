# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of others (AWS, the service, its database) made fit for a terminal; evidence keeps it as it came."""

from __future__ import annotations

import json
import shlex


def printable(text: str) -> str:
    """`text` with line breaks, and everything else that a terminal would obey instead of show written as an escape.

    Escape sequences could recolour or erase the verdict, and characters that reverse the direction of writing or are
    no valid Unicode could make it say something else.
    """
    return "".join(
        character
        if character == "\n" or character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def one_line(text: str) -> str:
    """`printable` without line breaks, where a line of its own would be taken for ours."""
    return printable(" ".join(text.split()))


def extra_variable(name: str, value: str) -> str:
    """`-e` with a variable, for a shell: as JSON where Ansible would end the value at a blank or take a quote away."""
    plain = shlex.quote(value) == value
    return "-e " + (f"{name}={value}" if plain else shlex.quote(json.dumps({name: value}, ensure_ascii=False)))
