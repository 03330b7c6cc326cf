# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests that verify a sealed bundle, and of those of a guard."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import Key, make_key, sealed_bundle
from aws_endpoint import AwsEndpoint
from guard_scene import Scene


@pytest.fixture
def not_for_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bundle of a test has to survive a loss of power."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_key(tmp_path / "key")


@pytest.fixture
def folder(tmp_path: Path, key: Key, not_for_keeping: None) -> Path:
    """A sealed bundle of a run that passed, with an image."""
    return sealed_bundle(tmp_path / "runs", random.Random(7), key, image=True, crash="", good=True)


@pytest.fixture
def endpoint() -> Iterator[AwsEndpoint]:
    server = AwsEndpoint()
    yield server
    server.close()


@pytest.fixture
def scene(tmp_path: Path, endpoint: AwsEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []

    def make(**environment: str) -> Scene:
        made.append(Scene(tmp_path, endpoint, monkeypatch, **environment))
        return made[-1]

    yield make
    for each in made:
        each.close()
