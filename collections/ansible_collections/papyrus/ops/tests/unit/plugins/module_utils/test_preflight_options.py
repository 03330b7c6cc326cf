# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a preflight learns how long the credentials live (B14)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _preflight_options

END = "2026-01-31T13:00:00Z"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials but those in the file of the test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("asked", "file", "kind", "end"),
    [
        ({"access_key": "k", "session_token": "t"}, "", "session", END),
        ({"access_key": "k"}, "", "static", None),
        ({}, "[default]\naws_access_key_id = k\naws_secret_access_key = s\naws_session_token = t\n", "session", END),
        ({}, "[default]\naws_access_key_id = k\naws_secret_access_key = s\n", "static", None),
        ({}, "", "none", None),
    ],
)
def test_B14_the_end_of_a_session_is_what_the_environment_says(
    asked: dict[str, Any], file: str, kind: str, end: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session token in a file has no end of its own: the workflows write it there, and say the end beside it."""
    (tmp_path / "credentials").write_text(file, "utf-8")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", END)
    found = _preflight_options.credentials_of(asked)
    assert (found["kind"], found.get("expires_at")) == (kind, end)
