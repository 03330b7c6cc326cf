# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of an attacker in every place of a bundle in which text can be."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle

HOSTILE = "</script></pre></style><zzz><img src=x onerror=alert(1)>]]>\"'--><a href='http://x'>\u202egnp\u2066\x1b[31m\x07{{1234*4321}}"


def poisoned(value: Any) -> Any:
    """Every text in a value with the hostile one behind it, keys included; words that code goes by stay."""
    if isinstance(value, str):
        return value if value in ("ok", "ng", "skip", "info", "start", "end") else value + HOSTILE
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()} | {HOSTILE: 1}
    return [poisoned(item) for item in value] if isinstance(value, list) else value


def poison(bundle: Bundle) -> BundleView:
    """The bundle with hostile text in every item, every line and its run.json; file names stay those on the disk."""
    lines = []
    for line in bundle.lines():
        file = bundle.folder / line["path"]
        text = file.read_text()
        if file.suffix in (".json", ".tfstate"):
            file.write_text(json.dumps(poisoned(json.loads(text))))
        elif file.suffix in (".jsonl", ".cast"):
            file.write_text("".join(json.dumps(poisoned(json.loads(each))) + "\n" for each in text.splitlines()))
        else:
            file.write_text("".join(f"{each}{HOSTILE}\n" for each in text.splitlines()))
        kept = ("name", "path", "status", "step", "at")
        lines.append({key: item if key in kept else poisoned(item) for key, item in line.items()})
    view = BundleView.of(bundle)
    return BundleView(view.folder, view.run, lines, view.verdict)
