"""Commands in the documentation: found in its code, told apart from listings and settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = ("README*.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/evidence/*.md")
OTHER_LANGUAGES = {"python", "yaml", "json", "mermaid"}
LISTINGS = (
    r"docs/evidence/(runs|cloudtrail)/",
    r"app/ +",
    r"boto3 / Terraform",
    r"- papyrus\.ops\.\w+:$",
    r"# /etc/",
    r"\[(Unit|Service|Timer|Install)\]$",
    r'\{"Effect"',
    r"1\. \w+ \w+",
    r"The local AWS differs here:",
    r"\w+: exit code \d",
)
"""First lines of what is code and no command: names of files, tasks, settings, policies, what is printed."""


@dataclass(frozen=True)
class Command:
    """One command as it is written, of several lines where it goes on; `note` is what stands behind `#`."""

    page: str
    line: int
    text: str
    note: str

    @property
    def needs_aws(self) -> bool:
        return self.note.startswith("AWS")


def blocks(page: str) -> Iterator[list[tuple[int, str]]]:
    """Code of a page: numbered lines that are indented by four behind a blank one, or stand between fences."""
    found: list[tuple[int, str]] = []
    fence, blank = "", True
    for number, line in enumerate(page.splitlines(), 1):
        opened = re.match(r" *```(.*)$", line)
        if opened:
            fence = "" if fence else opened.group(1).strip() or "sh"
        indented = re.match(r" {4}", line) is not None and (blank or bool(found))
        if not opened and line.strip() and fence not in OTHER_LANGUAGES and (fence or indented):
            found.append((number, line))
            continue
        blank = not line.strip()
        if found:
            yield found
        found = []
    if found:
        yield found


def without_note(line: str) -> tuple[str, str]:
    """The line and what stands behind a ` # ` outside of quotes."""
    quote = ""
    for at, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif line.startswith(" # ", at):
            return line[:at].rstrip(), line[at + 3 :]
    return line, ""


def goes_on(text: str) -> bool:
    """Whether the shell wants another line: an open quote or here-document, a pipe or a backslash at the end."""
    document = re.search(r"<<'(\w+)'", text)
    if document:
        return not text.endswith(f"\n{document.group(1)}")
    return text.count("'") % 2 == 1 or text.endswith(("|", "\\"))


def commands_of(name: str, page: str) -> Iterator[Command]:
    for block in blocks(page):
        shift = min(len(line) - len(line.lstrip()) for _number, line in block)
        lines = [(number, line[shift:]) for number, line in block]
        if any(re.match(first, lines[0][1]) for first in LISTINGS):
            continue
        text, note, began = "", "", 0
        for number, line in lines:
            plain, said = (line, "") if text else without_note(line)
            text, note, began = (f"{text}\n{plain}", note, began) if text else (plain, said, number)
            if not goes_on(text):
                yield Command(name, began, text, note)
                text = ""
        if text:
            yield Command(name, began, text, note)


def commands() -> list[Command]:
    """All commands of all pages."""
    paths = sorted({path for pattern in PAGES for path in CHECKOUT.glob(pattern)})
    return [
        command for path in paths for command in commands_of(str(path.relative_to(CHECKOUT)), path.read_text("utf-8"))
    ]
