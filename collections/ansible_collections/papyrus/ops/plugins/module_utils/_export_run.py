# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs an export: one coordinator, a few requests in flight, every page on disk before the next is asked.

    outcome = export(source, request, root, rate=1.0, lanes=2, redactor=redactor, criterion=None, settle=False,
                     resume=True, say=journal.say)

`source` is a `_export.Source`, `request` a `_export.Request`, `root` the folder below which `<UTC timestamp>/` with
`<stem>_<UTC>.jsonl.gz`, `<stem>_<UTC>.<filter name>.jsonl.gz` and `completeness.json` come into being. `rate` is
requests a second (0: not paced), `redactor` a `_redaction.Redactor`, `criterion` a `_export_filter.Filter` or None,
`say` gets lines of progress. A source with calls of its own (`units`) paces them by `_export_pace.Patient`.

The `Outcome` has `folder`, `complete`, `settled`, `resumed`, `reason` ("" or why it stopped before its end), `failure`
(the AwsFailure behind it, if any), `files` (name, bytes, lines, sha256) and `report` (what completeness.json has, or
would have). An export that stopped has no completeness.json: the same call goes on with it. ExportRefused for what
makes no sense and for a folder in which somebody else exports: nothing was written then.
"""
