"""Runs whose calls can be told from others', and changed copies of the app: what a release wrote is counted by AWS."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import harness
from .services import unique


class Recorded(harness.RunningSmoke):
    """A run under way with an access key of its own, by which the local AWS's record knows its calls."""

    def __init__(
        self,
        folder: Path,
        variables: dict[str, Any],
        arguments: tuple[str, ...],
        playbook: str,
        key: str = "",
        launcher: tuple[str, ...] = (),
    ) -> None:
        known, self.key = harness.facts(), key or unique("key")
        self.before = harness.last_call()
        environment = {
            "AWS_ENDPOINT_URL": known["endpoint"],
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
            "AWS_REGION": known["region"],
        }
        self.prepare()
        variables = {"papyrus_aws_environment": environment, **variables}
        super().__init__(folder, variables, arguments, playbook, launcher=launcher)

    def prepare(self) -> None:
        """What has to be there before the run begins, and depends on its key."""

    @property
    def writes(self) -> list[str]:
        """Names of the calls so far that changed something. Logging in to the registry does not."""
        recorded = [call for call in harness.calls(self.before) if call["access_key_id"] == self.key]
        assert recorded, self.output[-3000:]
        wrote = [call["operation"] for call in recorded if not call["read_only"]]
        return [operation for operation in wrote if operation != "GetAuthorizationToken"]


def changed_app(folder: Path, edits: Mapping[str, tuple[str, str]] | None = None) -> dict[str, str]:
    """A copy of the app with a line that no other test has. Inventory variables.

    `edits` by file: the text to replace, and its replacement.
    """
    source = folder / "app"
    shutil.copytree(harness.CHECKOUT / "app", source, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    with (source / "papyrus" / "__init__.py").open("a", encoding="utf-8") as stream:
        stream.write(f"# {unique('line')}\n")
    for name, (old, new) in (edits or {}).items():
        text = (source / name).read_text("utf-8")
        assert old in text, (old, text)
        (source / name).write_text(text.replace(old, new), "utf-8")
    return {"papyrus_app_source": str(source)}
