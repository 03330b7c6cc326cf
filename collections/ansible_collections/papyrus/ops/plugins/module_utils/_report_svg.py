# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drawings of the report as shapes, which the page's template turns into SVG: text in them is escaped there alone.

A drawing has no viewBox: x and widths are percent of the page's width or pixels, y and heights are pixels. So it is as
wide as the screen, a phone's included, and its text keeps its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shape:
    """`tag` rect, line, circle, path or text; `attributes` in order; `title` is shown on hover, `text` inside."""

    tag: str
    css: str
    attributes: tuple[tuple[str, str], ...]
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """`title` and `text` say in words what it shows; `css` chooses its size and place."""

    css: str
    height: int
    title: str
    text: str
    shapes: tuple[Shape, ...] = field(repr=False)


def percent(value: float) -> str:
    """For an attribute; never outside of the drawing."""
    return f"{min(max(value, 0.0), 100.0):.3f}".rstrip("0").rstrip(".") + "%"


def shape(tag: str, css: str, title: str = "", text: str = "", **attributes: str | int) -> Shape:
    """An underscore in an attribute's name stands for a hyphen."""
    return Shape(
        tag, css, tuple((name.replace("_", "-"), str(value)) for name, value in attributes.items()), title, text
    )


# The identity chain


@dataclass(frozen=True)
class Node:
    """A station of the path: its name, its value in short and more of it. `status` is that of the way to it."""

    title: str
    value: str
    extra: str
    status: str


STATION = 22
"""Characters that have room below a station."""

_WORDS = {"ok": "proved", "ng": "broken", "skip": "not asked", "none": "not shown"}


def clip(text: str) -> str:
    return text if len(text) <= STATION else text[: STATION - 1] + "…"


def in_words(nodes: Sequence[Node]) -> str:
    parts = [f"{nodes[0].title} {nodes[0].value}".strip()] if nodes else []
    parts += [f"{_WORDS[node.status]}: {node.title} {node.value}".strip() for node in nodes[1:]]
    return "; ".join(parts)


def path_across(title: str, nodes: Sequence[Node]) -> Drawing:
    """For wide screens: stations side by side."""
    width = 100 / max(len(nodes), 1)
    centre = [width * (i + 0.5) for i in range(len(nodes))]
    shapes: list[Shape] = []
    for i, node in enumerate(nodes[1:], 1):
        a, b = centre[i - 1], centre[i]
        if node.status == "ng":  # two ends that do not meet
            gap = (b - a) * 0.16
            shapes += [
                shape("line", "way ng", x1=percent(a), y1=30, x2=percent((a + b) / 2 - gap), y2=30),
                shape("line", "way ng", x1=percent((a + b) / 2 + gap), y1=30, x2=percent(b), y2=30),
                *_cross(percent((a + b) / 2), 30),
            ]
        else:
            shapes.append(shape("line", f"way {node.status}", x1=percent(a), y1=30, x2=percent(b), y2=30))
    for x, node in zip(centre, nodes, strict=True):
        shapes.append(shape("circle", f"station {node.status}", cx=percent(x), cy=30, r=9))
        shapes += _sign(percent(x), 30, node.status)
        shapes.append(shape("text", "name", x=percent(x), y=64, text_anchor="middle", text=node.title))
        shapes.append(shape("text", "value", x=percent(x), y=84, text_anchor="middle", text=clip(node.value)))
        shapes.append(shape("text", "value extra", x=percent(x), y=102, text_anchor="middle", text=clip(node.extra)))
    return Drawing("chain-across", 112, title, in_words(nodes), tuple(shapes))


def path_down(title: str, nodes: Sequence[Node]) -> Drawing:
    """For phones: stations below each other."""
    step = 74
    shapes: list[Shape] = []
    for i, node in enumerate(nodes[1:], 1):
        top, bottom = 20 + step * (i - 1), 20 + step * i
        if node.status == "ng":
            middle = (top + bottom) // 2
            shapes += [
                shape("line", "way ng", x1=16, y1=top, x2=16, y2=middle - 9),
                shape("line", "way ng", x1=16, y1=middle + 9, x2=16, y2=bottom),
                *_cross("16", middle),
            ]
        else:
            shapes.append(shape("line", f"way {node.status}", x1=16, y1=top, x2=16, y2=bottom))
    for i, node in enumerate(nodes):
        y = 20 + step * i
        shapes.append(shape("circle", f"station {node.status}", cx=16, cy=y, r=9))
        shapes += _sign("16", y, node.status)
        shapes.append(shape("text", "name", x=38, y=y, text=node.title))
        shapes.append(shape("text", "value", x=38, y=y + 19, text=clip(node.value)))
        shapes.append(shape("text", "value extra", x=38, y=y + 37, text=clip(node.extra)))
    return Drawing("chain-down", 20 + step * len(nodes), title, in_words(nodes), tuple(shapes))


def _cross(x: str, y: int) -> Iterable[Shape]:
    return [shape("text", "cross", x=x, y=y + 6, text_anchor="middle", text="✕")]


def _sign(x: str, y: int, status: str) -> list[Shape]:
    text = {"ok": "✓", "ng": "✕", "skip": "–", "none": "?"}[status]
    return [shape("text", f"sign {status}", x=x, y=y + 4, text_anchor="middle", text=text)]


# Time


@dataclass(frozen=True)
class Bar:
    """`start` and `end` in percent of the run."""

    start: float
    end: float
    css: str
    title: str


@dataclass(frozen=True)
class Tick:
    at: float
    css: str
    title: str


def lane(title: str, text: str, bars: Sequence[Bar], ticks: Sequence[Tick], grid: Sequence[float]) -> Drawing:
    shapes = [shape("line", "grid", x1=percent(x), y1=0, x2=percent(x), y2="100%") for x in grid]
    for span in bars:
        width = max(span.end - span.start, 0.35)
        shapes.append(
            shape("rect", f"bar {span.css}", span.title, x=percent(min(span.start, 99.65)), y=7, width=percent(width),
                  height=16, rx=2)
        )  # fmt: skip
    for tick in ticks:
        shapes.append(shape("circle", f"tick {tick.css}", tick.title, cx=percent(tick.at), cy=15, r=4))
    return Drawing("lane", 30, title, text, tuple(shapes))


def axis(marks: Sequence[tuple[float, str]]) -> Drawing:
    shapes = []
    for x, text in marks:
        anchor = "start" if x < 4 else "end" if x > 90 else "middle"
        shapes.append(shape("text", "mark", x=percent(x), y=13, text_anchor=anchor, text=text))
    return Drawing("axis", 18, "", "", tuple(shapes))


def strip(title: str, text: str, parts: Sequence[Bar]) -> Drawing:
    """Health of one target over time. The height tells states apart as well as the colour does."""
    heights = {"healthy": 24, "initial": 12, "draining": 8, "unused": 4, "unhealthy": 24}
    shapes = []
    for part in parts:
        height = heights.get(part.css, 6)
        shapes.append(
            shape("rect", f"health {part.css}", part.title, x=percent(part.start), y=26 - height,
                  width=percent(max(part.end - part.start, 0.4)), height=height)
        )  # fmt: skip
        if part.css == "unhealthy":
            middle = percent((part.start + part.end) / 2)
            shapes.append(shape("text", "cross", x=middle, y=19, text_anchor="middle", text="✕"))
    shapes.append(shape("line", "base", x1="0%", y1=27, x2="100%", y2=27))
    return Drawing("strip", 28, title, text, tuple(shapes))
