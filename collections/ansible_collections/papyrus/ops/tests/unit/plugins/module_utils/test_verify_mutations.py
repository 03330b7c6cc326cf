# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every change to a sealed bundle is found and called by its right name, and nothing else is accused (N4).

PAPYRUS_SEED repeats a failure that the soak has found.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from ansible_collections.papyrus.ops.tests.unit.bundle_mutations import NotThisOne, Scene
from ansible_collections.papyrus.ops.tests.unit.bundle_mutations_signed import MUTATIONS
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import Key, copy_by_links, make_key, sealed_bundle

SEED = int(os.environ.get("PAPYRUS_SEED", "20260131"))


@pytest.fixture(autouse=True)
def not_for_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_key(tmp_path / "key")


@pytest.fixture
def stranger(tmp_path: Path) -> Key:
    return make_key(tmp_path / "stranger")


def mutate(folders: list[Path], key: Key, stranger: Key, work: Path, count: int) -> Counter[str]:
    """`count` mutations, each kind as often as the others; how often each class was said."""
    seen: Counter[str] = Counter()
    for number in range(count):
        function = MUTATIONS[number % len(MUTATIONS)]
        for attempt in range(1000):
            rng = random.Random(f"{SEED}/{number}/{attempt}")
            folder = rng.choice(folders)
            other = rng.choice([each for each in folders if each != folder])
            copy = copy_by_links(folder, work / "mutated")
            try:
                right = function(Scene(copy, other, stranger, rng))
            except NotThisOne:
                continue
            break
        else:
            pytest.fail(f"{function.__name__} changes nothing")
        result = verify(copy, [key.trusted])
        said = {(finding["class"], finding["path"]) for finding in result["findings"]}
        wrong = right.wrong(said)
        assert not wrong, f"{function.__name__}, {number}/{attempt} (seed {SEED}): {wrong}\n{result['findings']}"
        assert result["result"] == ("incomplete" if said == {("unsealed", "attestation.dsse.json")} else "tampered")
        seen.update({kind for kind, _path in said})
    return seen


def untouched(root: Path, key: Key, count: int, first: int = 0) -> Iterator[Path]:
    for number in range(first, first + count):
        folder = sealed_bundle(root, random.Random(f"{SEED}/untouched/{number}"), key)
        result = verify(folder, [key.trusted])
        assert (result["result"], result["findings"]) == ("ok", []), f"bundle {number} (seed {SEED})"
        assert result["counts"] == {"ok": len(result["files"])}
        yield folder


def test_N4_each_kind_of_change_is_found_and_named(tmp_path: Path, key: Key, stranger: Key) -> None:
    folders = list(untouched(tmp_path / "runs", key, 12))
    seen = mutate(folders, key, stranger, tmp_path, 12 * len(MUTATIONS))
    assert set(seen) == {
        "invalid", "missing", "unlisted", "gap", "reordered", "truncated", "torn", "unsealed", "bad-signature",
        "wrong-key",
    }  # fmt: skip


@pytest.mark.soak
def test_N4_ten_thousand_changes_and_a_thousand_untouched_bundles(tmp_path: Path, key: Key, stranger: Key) -> None:
    begun = time.monotonic()
    folders = []
    for number, folder in enumerate(untouched(tmp_path / "runs", key, 1000)):
        if number < 50:
            folders.append(folder)
        else:
            shutil.rmtree(folder)
    half = time.monotonic()
    seen = mutate(folders, key, stranger, tmp_path, 10_000)
    print(f"\n1000 untouched bundles in {half - begun:.0f} s, 10000 changes in {time.monotonic() - half:.0f} s: {seen}")
