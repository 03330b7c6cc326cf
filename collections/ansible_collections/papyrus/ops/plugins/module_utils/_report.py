# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.html: the bundle for people, one file that needs no network and runs nothing.

It is made while a bundle is sealed, so it may not fail: a part that cannot be made is left out, and the page says so.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

from . import (
    _report_chain,
    _report_limits,
    _report_proofs,
    _report_story,
    _report_summary,
    _report_timeline,
    _report_trail,
)
from ._bundle_view import BundleView
from ._report_page import MACROS, PAGE
from ._report_parts import CONTENTS, PARTS
from ._report_source import Source
from ._report_style import STYLE
from ._report_text import Block, finalize, size

try:
    import jinja2

    JINJA2_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:
    JINJA2_IMPORT_ERROR = exc

T = TypeVar("T")


class ReportError(Exception):
    """The page cannot be made at all; the message says what is missing."""


def report_html(view: BundleView, seal: Mapping[str, Any]) -> bytes:
    """The whole page, UTF-8; the same bundle gives the same bytes.

    `seal` are the annotations of the statement's seal descriptor, {} when the bundle is not signed. ReportError
    without Jinja2; nothing that a bundle may hold makes it fail.
    """
    if JINJA2_IMPORT_ERROR is not None:
        raise ReportError("the Python package Jinja2 is not installed where the report is made") from (
            JINJA2_IMPORT_ERROR
        )
    return environment().get_template("page").render(model(view, seal)).encode("utf-8", "backslashreplace")


@cache
def environment() -> jinja2.Environment:
    """Escapes every value, and makes what could hide or act visible, in one place: no template is exempt."""
    page = PAGE.replace("STYLE", f"{{% raw %}}{STYLE}{{% endraw %}}")
    made = jinja2.Environment(
        autoescape=True,
        finalize=finalize,
        loader=jinja2.DictLoader({"page": page.lstrip(), "macros": MACROS, "parts": PARTS}),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(size=size, block=Block)
    return made


def model(view: BundleView, seal: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates show, by part; a part that could not be made is None, and named in `broken`."""
    source = Source(view)
    broken: list[str] = []
    summary = _report_summary.summary(source, seal)
    parts: dict[str, Any] = {
        name: _made(name, make, broken)
        for name, make in (
            ("chain", partial(_report_chain.chain, source)),
            ("timeline", partial(_report_timeline.timeline, source)),
            ("preflights", partial(_report_proofs.preflights, source)),
            ("trail", partial(_report_trail.trail, source)),
            ("release", partial(_report_story.release, source)),
            ("running", partial(_report_proofs.running, source)),
            ("health", partial(_report_proofs.health, source)),
            ("probes", partial(_report_proofs.probes, source)),
            ("database", partial(_report_proofs.database, source)),
            ("gone", partial(_report_story.gone, source)),
            ("casts", partial(_report_proofs.casts, source)),
            ("crash", partial(_report_limits.crash, source, summary)),
            ("limits", partial(_report_limits.limits, source, summary)),
            ("items", partial(_report_limits.items, source)),
            ("missing", partial(_report_limits.missing, source)),
            ("rest", partial(_report_proofs.unshown, source)),
        )
    }
    number, contents = itertools.count(1), _contents(parts)
    return {
        "s": summary,
        **parts,
        "broken": broken,
        "contents": contents,
        "anchors": {id for id, _title in contents},
        "csp": policy(),
        "verify": _report_limits.verification(source, summary),
        "next_id": lambda: f"d{next(number)}",
    }


def policy() -> str:
    """Content security policy: nothing is loaded, nothing runs, no style but the page's own."""
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"


def _made(name: str, make: Callable[[], T], broken: list[str]) -> T | None:
    try:
        return make()
    except Exception as exc:  # whatever it is, the rest of the page is worth more than this part
        broken.append(f"{name}: {type(exc).__name__}: {exc}")
        return None


def _contents(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Links to the parts that are there."""
    by_id = {
        "identity": "chain",
        "preflight": "preflights",
        "rollout": "release",
    }
    always = ("summary", "verify")
    return [(id, title) for id, title in CONTENTS if id in always or _there(parts[by_id.get(id, id)])]


def _there(part: Any) -> bool:
    return bool(part.proofs or part.tls) if isinstance(part, _report_proofs.Database) else bool(part)
