# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trace of a run as a file: in order, states as sequences, without anything that tells runs or accounts apart."""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ._evidence import RUN_FILE
from ._locks import write_durable
from ._redaction import Redactor
from ._trace import RAW_FILE, begin, record_into

FORMAT = "papyrus.ops/trace/1"
MODE = 0o600


def check_trace_file(given: object) -> str:
    """The absolute path of the trace that a run is to have, "" for none. ValueError for one that cannot be written."""
    if not given:
        return ""
    path = Path(str(given)).absolute()
    if path.exists():
        raise ValueError(f"there is a {path} already, and a trace replaces nothing (papyrus_trace_file)")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is no folder, so no trace can be written to it (papyrus_trace_file)")
    return str(path)


def export(private: str | Path, folder: str | Path, trace_file: str, result: str) -> str:
    """Writes the trace (0600) of the run whose bundle is `folder`; says in a line what was written, or why not.

    Nothing of it raises: a run does not fail for its trace. "" without a trace to be written.
    """
    if not trace_file or not private:
        return ""
    try:
        run = json.loads((Path(folder) / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        run = {}
    return _written(Path(private), run, trace_file, result)


def record_alone(folder: str | Path, trace_file: object, who: str) -> Callable[[str], str]:
    """Records what this process asks from here on, without a run: what is returned takes the result and says the rest.

    `folder` is an empty one of this process, which is removed with it. ValueError as of `check_trace_file`.
    """
    path = check_trace_file(trace_file)
    if path:
        Redactor.prepare(folder)
        begin(folder, path)
        record_into(folder, who)
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
    run = {"endpoint": endpoint, "playbook": who.partition("_")[0]}
    return lambda result: _written(Path(folder), run, path, result) if path else ""


def _written(private: Path, run: Mapping[str, Any], trace_file: str, result: str) -> str:
    raw = private / RAW_FILE
    if not raw.exists():
        return ""
    try:
        lines = list(trace(_read(raw), {**_about(run), "result": result}))
        clean = functools.cache(Redactor(private).redact_text)
        text = "".join(f"{json.dumps(_each_text(line, clean), separators=(',', ':'))}\n" for line in lines)
        write_durable(Path(trace_file), text.encode(), mode=MODE)
    except Exception as exc:
        return f"NO TRACE in {trace_file}: {type(exc).__name__}: {exc}"
    end = lines[-1]
    return f"Trace: {trace_file} ({end['calls']} calls, {end['lost']} lost)"


def _each_text(value: Any, clean: Callable[[str], str]) -> Any:
    """The same with each name and text redacted, each by itself: the type of a token stands beside a telling name."""
    if isinstance(value, Mapping):
        return {clean(str(name)): _each_text(item, clean) for name, item in value.items()}
    if isinstance(value, list):
        return [_each_text(item, clean) for item in value]
    return clean(value) if isinstance(value, str) else value


def _read(raw: Path) -> Iterator[dict[str, Any]]:
    """The lines; one that is none (a disk that was full) is {"kind": "lost"}."""
    with raw.open("rb") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            yield value if isinstance(value, dict) else {"kind": "lost"}


def _about(run: Mapping[str, Any]) -> dict[str, Any]:
    """What may be told of what run.json says: the playbook, versions, and whether AWS itself was asked."""
    versions = {name: value for name, value in (run.get("versions") or {}).items() if isinstance(value, str)}
    where = "unknown" if "endpoint" not in run else "AWS_ENDPOINT_URL" if run["endpoint"] else "AWS"
    return {
        "recorded": str(run.get("started_at") or dt.datetime.now(dt.UTC).isoformat())[:10],
        "playbook": str(run.get("playbook") or ""),
        "where": where,
        "versions": {name: versions[name] for name in sorted(versions)},
    }


def trace(raw: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines of the trace of the raw lines of all processes: header, shapes when first used, calls, states, end."""
    told = list(raw)
    zero = next((line["at"] for line in told if line["kind"] == "begin"), 0)
    calls = sorted((line for line in told if line["kind"] == "call"), key=lambda line: (line["at"], line["service"]))
    yield {"kind": "trace", "format": FORMAT, **about}
    shapes: dict[str, int] = {}
    for number, call in enumerate(calls, 1):
        for shape in (call["request"], call["response"]):
            text = json.dumps(shape, sort_keys=True)
            if shape is not None and text not in shapes:
                shapes[text] = len(shapes) + 1
                yield {"kind": "shape", "n": shapes[text], "shape": shape}
        yield {
            "kind": "call",
            "n": number,
            "at": _ms(call["at"], zero),
            **{name: call[name] for name in ("ms", "who", "service", "operation", "status", "code", "retried")},
            **{name: shapes.get(json.dumps(call[name], sort_keys=True)) for name in ("request", "response")},
        }
    yield from _sequences(calls, zero)
    for line in told:
        if line["kind"] == "resource":
            yield {name: line[name] for name in ("kind", "command", "type", "what", "seconds")}
    yield {"kind": "end", "calls": len(calls), "lost": sum(line["kind"] == "lost" for line in told)}


def _sequences(calls: Iterable[Mapping[str, Any]], zero: int) -> Iterator[dict[str, Any]]:
    """What was seen of each thing over time. Things are numbered by kind, as they were first seen."""
    seen: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for call in calls:
        at = _ms(call["at"], zero) + call["ms"]
        for kind, thing, state in call["states"]:
            looks = seen.setdefault((kind, thing), [])
            if looks and looks[-1]["state"] == state:
                looks[-1].update(last=at, times=looks[-1]["times"] + 1)
            else:
                looks.append({"state": state, "first": at, "last": at, "times": 1})
    numbers: dict[str, int] = {}
    for (kind, _thing), looks in seen.items():
        numbers[kind] = numbers.get(kind, 0) + 1
        yield {"kind": "states", "of": kind, "number": numbers[kind], "seen": looks}


def _ms(at: int, zero: int) -> int:
    return round((at - zero) / 1e6)
