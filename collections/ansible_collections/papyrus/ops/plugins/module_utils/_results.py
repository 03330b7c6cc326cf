# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module returns is printed, kept by runners and shown by CI: all of it goes through the redactor before."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._progress import PROGRESS
from ._redaction import Redactor
from ._trace import record_into

_open: list[Any] = []


def redact_results(module: Any, *, unseen: Sequence[str] = ()) -> Redactor:
    """From here on results, messages, tracebacks and the arguments that Ansible repeats have no secret.

    Values that the run knows when the module ends are taken out as well, where it has the option `private` or `run`.
    Where that run has a trace, the module's calls of AWS are recorded. Progress is told from here on.
    `unseen` arguments are left alone, as the module itself repeats nothing of them.
    """
    redactor = run_redactor(module.params)
    PROGRESS.open(redactor.redact_text)
    record_into(private_of(module.params), str(getattr(module, "_name", "")))
    end, fail = module.exit_json, module.fail_json

    def clean_arguments() -> None:
        shown = {name: value for name, value in module.params.items() if name not in unseen}
        module.params.update(redactor.redact_object(shown))

    def exit_json(**result: Any) -> Any:
        clean_arguments()
        return end(**redactor.redact_object(result))

    def fail_json(msg: Any, **result: Any) -> Any:
        clean_arguments()
        given = result.pop("exception", None)
        if isinstance(given, BaseException):
            msg = f"{msg}: {given}"
        # Ansible would take the traceback from the exception that is being handled, and that has the text as it was.
        trace = given if isinstance(given, str) else traceback.format_exc() if sys.exc_info()[0] else ""
        return fail(
            redactor.redact_text(str(msg)), exception=redactor.redact_text(trace), **redactor.redact_object(result)
        )

    module.exit_json, module.fail_json = exit_json, fail_json
    _open.append(module)
    return redactor


def run_redactor(options: Mapping[str, Any]) -> Redactor:
    """With what the run knows, by its folder `private` or that of its `run`, as long as the folder is there."""
    try:
        redactor = Redactor(private_of(options))
        redactor.redact(b"")  # knows the values from now on, also when a module removes the folder
    except FileNotFoundError:
        return Redactor()
    return redactor


def private_of(options: Mapping[str, Any]) -> Any:
    """The run-private folder that options name: by `private`, or by their `run`."""
    run = options.get("run")
    return options.get("private") or (run.get("private") if isinstance(run, Mapping) else None)


def redacted_failure(main: Callable[[], None]) -> Callable[[], None]:
    """For the `main` of a module: an exception that nobody expected fails it by the same redacted way."""

    @functools.wraps(main)
    def run() -> None:
        try:
            main()
        except Exception as exc:
            if not _open:
                raise
            _open[-1].fail_json(msg=f"{type(exc).__name__}: {exc}")

    return run
