# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verification from the command line, without Ansible."""

from __future__ import annotations

import argparse
import json
import sys
from typing import NoReturn

from ._verdict import RESULTS
from ._verify import COULD_NOT
from ._verify_request import Request, RequestError, examine
from ._verify_text import text

_EPILOG = """exit code: 0 ok; 2 tampered; 3 incomplete (not sealed, not everything there, runs of the ledger not
shown); 4 mismatch (intact, but about another image or with another verdict than asked for); 1 it could not be asked.
The verdict of the run is no part of it: an intact bundle of a FAILED run is ok, unless --require-result says
otherwise."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(message)  # argparse's own exit code for it would mean: tampered


def _parser() -> _Parser:
    parser = _Parser(
        prog="verify",
        description="Verifies evidence bundles: whether anything was changed since the seal, and what is not proved.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("bundles", nargs="*", metavar="BUNDLE", help="folder of a bundle")
    add("--root", metavar="FOLDER", help="all bundles in this folder")
    add(
        "--key",
        dest="keys",
        action="append",
        metavar="PEM",
        help="public key to trust, not from the bundle; repeatable",
    )
    add("--identity", help="keyless: OIDC identity of the workflow that may sign (with --issuer)")
    add("--issuer", help="keyless: issuer of that identity")
    add("--image", metavar="sha256:…", help="digest of the image that the bundle has to be about")
    add("--require-result", dest="results", action="append", choices=RESULTS, help="verdict to insist on; repeatable")
    add("--timestamp-roots", metavar="PEM", help="root certificates of the time stamping authorities to trust")
    add("--ledger", metavar="WHERE", help="folder or s3:// address: names runs that were opened and are not shown")
    add("--service", help="of the ledger, only runs of this service")
    add("--since", metavar="TIME", help="of the ledger, only runs that began at this time (RFC 3339) or later")
    add("--until", metavar="TIME", help="of the ledger, only runs that began at this time or earlier")
    add("--only-shown", action="store_true", help="of the ledger, only the bundles that are given")
    add("--online", action="store_true", help="look the run up in CloudTrail, with the credentials of the environment")
    add("--region", help="AWS region of ledger and CloudTrail, where it is not that of environment and run")
    add("--json", dest="as_json", action="store_true", help="the whole answer as JSON")
    return parser


def main(argv: list[str]) -> int:
    """The exit code: 0 ok, 2 tampered, 3 incomplete, 4 mismatch, 1 for what could not be asked."""
    try:
        given = vars(_parser().parse_intermixed_args(argv))
        as_json = given.pop("as_json")
        answer = examine(Request.of(given))
    except RequestError as exc:
        sys.stderr.write(f"verify: {exc}\nverify --help says how to ask.\n")
        return COULD_NOT
    said = json.dumps(answer, indent=1, sort_keys=True) if as_json else text(answer)
    sys.stdout.write(said + "\n")
    sys.stdout.flush()
    return int(answer["exit_code"])
