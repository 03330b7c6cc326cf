# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.html: the bundle for people, one file that needs no network and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from ._bundle_view import BundleView
from ._report_text import finalize

try:
    import jinja2

    JINJA2_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:
    JINJA2_IMPORT_ERROR = exc

_STYLE = "body{font-family:system-ui,sans-serif;margin:2rem;line-height:1.5}td,dd{overflow-wrap:anywhere}"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ csp }}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ result }}: {{ run.service }}, run {{ run.run_id }}</title>
<style>{% raw %}STYLE{% endraw %}</style>
</head>
<body>
<main>
<h1>{{ result }}: {{ run.service }}</h1>
<dl>
{% for name in ("run_id", "started_at", "account_id", "region", "endpoint", "caller_arn", "playbook") %}
<dt>{{ name }}</dt><dd>{{ run[name] | default("not known", true) }}</dd>
{% endfor %}
<dt>signature</dt><dd>{{ seal.trust | default("not signed", true) }} {{ seal.keyid | default("") }}</dd>
</dl>
{% for failure in failures %}<p>{{ failure }}</p>{% endfor %}
<table>
<caption>Items</caption>
<thead><tr><th scope="col">seq</th><th scope="col">at</th><th scope="col">file</th><th scope="col">status</th>
<th scope="col">step</th><th scope="col">sha256</th></tr></thead>
<tbody>
{% for line in lines %}
<tr><td>{{ line.seq }}</td><td>{{ line.at }}</td><td>{{ line.path }}</td><td>{{ line.status }}</td>
<td>{{ line.step }}</td><td>{{ line.sha256 }}</td></tr>
{% endfor %}
</tbody>
</table>
</main>
</body>
</html>
"""


class ReportError(Exception):
    """The page cannot be made at all; the message says what is missing."""


def report_html(view: BundleView, seal: Mapping[str, Any]) -> bytes:
    """The whole page, UTF-8. `seal` are the annotations of the statement's seal descriptor, {} when not signed."""
    if JINJA2_IMPORT_ERROR is not None:
        raise ReportError("the Python package Jinja2 is not installed where the report is made") from (
            JINJA2_IMPORT_ERROR
        )
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    environment = jinja2.Environment(autoescape=True, finalize=finalize, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_PAGE.replace("STYLE", _STYLE)).render(
        csp=f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'",
        run=view.run,
        lines=view.lines,
        seal=seal,
        result=str(view.verdict.get("result") or "NO VERDICT"),
        failures=[str(failure) for failure in view.verdict.get("failures") or []],
    )
    return page.encode("utf-8", "backslashreplace")
