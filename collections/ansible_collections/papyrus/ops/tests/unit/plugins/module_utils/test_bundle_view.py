# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a bundle: never out of its folder, never more than asked for (J1)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle


@pytest.fixture
def view(tmp_path: Path) -> BundleView:
    bundle = Bundle.create(tmp_path / "bundle", {"run_id": "one"})
    bundle.append("long.log", b"0123456789", status="info", step="D1")
    (tmp_path / "secret").write_text("outside")
    return BundleView.of(bundle)


@pytest.mark.parametrize(
    "path", ["../secret", "{outside}", "", ".", "..", "a/../run.json", "link", "fifo", "\0", "\ud800"]
)
def test_J1_nothing_is_read_out_of_the_bundle(view: BundleView, tmp_path: Path, path: str) -> None:
    (view.folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(view.folder / "fifo")
    assert view.read({"path": path.replace("{outside}", str(tmp_path / "secret"))}) is None
    assert view.read({}) is None


def test_J1_both_ends_of_an_item_are_read_once_each(view: BundleView) -> None:
    line = view.last("long.log")
    assert line is not None
    for head, tail, expected in (
        (4, 3, (b"0123", b"789")),
        (8, 5, (b"01234567", b"89")),
        (20, 5, (b"0123456789", b"")),
    ):
        ends = view.ends(line, head, tail)
        assert ends is not None
        assert (ends[0].data, ends[1]) == expected
        assert ends[0].size == 10
        assert ends[0].cut == (head < 10)


@pytest.mark.parametrize(("content", "limit"), [(b"{", 99), (b"[1]", 99), (b'{"a":1}xx', 7), (b'{"a":' * 9999, 99999)])
def test_J1_what_is_no_object_within_the_limit_is_none(view: BundleView, content: bytes, limit: int) -> None:
    line = Bundle(view.folder).append("some.json", content, status="info", step="D1")
    assert view.json_of(line, limit) is None
