# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of the tasks under way is shown (issue 8): one line, plain lines now and then, what is important at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.plugin_utils.live_tasks import MOST, Tasks, span


class Stand:
    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.folder = folder
        self.tasks = Tasks(folder, 30.0, lambda: self.now)
        self.paths: dict[str, Path] = {}

    def begin(self, host: str = "prd", name: str = "Wait for the ALB", secret: bool = False) -> None:
        self.paths[host] = Path(self.tasks.begin(host, name, secret))

    def tell(self, host: str = "prd", **told: object) -> None:
        self.append(json.dumps(told).encode() + b"\n", host)

    def append(self, data: bytes, host: str = "prd") -> None:
        with self.paths[host].open("ab") as file:
            file.write(data)

    def plain(self, seconds: float) -> list[str]:
        self.now += seconds
        return self.tasks.look(plain=True)

    def line(self, seconds: float = 0.0) -> str:
        self.now += seconds
        self.tasks.look(plain=False)
        return self.tasks.line(200)


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def test_the_line_has_task_time_and_what_is_waited_for_and_its_time_runs_by_itself(stand: Stand) -> None:
    stand.begin()
    assert stand.line(0.9) == ""
    assert stand.line(0.2) == "Wait for the ALB  0:01"
    stand.tell(now="creating aws_lb.this")
    assert stand.line(60) == "Wait for the ALB  1:01  creating aws_lb.this"
    assert stand.line(5) == "Wait for the ALB  1:06  creating aws_lb.this"
    stand.tasks.end("prd")
    assert stand.line(5) == ""


def test_a_long_name_leaves_room_for_what_is_waited_for(stand: Stand) -> None:
    stand.begin(name="Destroy the temporary ALB and prove that it is gone")
    stand.tell(now="destroying aws_lb.this")
    stand.line(2)
    assert stand.tasks.line(60) == "Destroy the temporary A…  0:02  destroying aws_lb.this"


def test_several_hosts_take_turns_and_are_named(stand: Stand) -> None:
    for host in ("one", "two"):
        stand.begin(host)
        stand.tell(host, now=f"waits for {host}")
    stand.now = 120.0
    seen = {stand.line(1.0) for _second in range(12)}
    assert any(line.startswith("one: Wait") and line.endswith("(+1 hosts)  waits for one") for line in seen)
    assert any(line.startswith("two: Wait") and line.endswith("(+1 hosts)  waits for two") for line in seen)
    stand.tasks.end("one")
    assert stand.line().startswith("two: Wait for the ALB  0:3")
    assert "hosts" not in stand.line()


def test_what_is_important_is_a_line_at_once_and_what_is_waited_for_from_then_on(stand: Stand) -> None:
    stand.begin()
    stand.now += 12
    stand.tell(line="2 of 3 tasks run\nsecond")
    assert stand.tasks.look(plain=False) == ["[prd] [   12 s] 2 of 3 tasks run", "                second"]
    assert stand.tasks.look(plain=False) == []
    assert stand.line() == "Wait for the ALB  0:12  2 of 3 tasks run second"


def test_what_was_told_last_is_not_lost_when_the_task_ends_and_its_file_goes(stand: Stand) -> None:
    stand.begin()
    stand.tell(line="the end")
    assert stand.tasks.end("prd") == ["[prd] [    0 s] the end"]
    assert list(stand.folder.iterdir()) == []
    assert stand.tasks.end("prd") == []


def test_plain_lines_come_when_it_changes_not_in_bursts_and_seldom_for_other_figures(stand: Stand) -> None:
    stand.begin()
    assert stand.plain(1) == []
    stand.tell(now="creating aws_lb.this, 1 of 8 done")
    assert stand.plain(1) == ["[prd] [    2 s] creating aws_lb.this, 1 of 8 done"]
    stand.tell(now="creating aws_lb.this, 2 of 8 done")
    assert stand.plain(20) == []
    assert stand.plain(10) == ["[prd] [   32 s] creating aws_lb.this, 2 of 8 done"]
    stand.tell(now="creating aws_lb_listener.http, 7 of 8 done")
    assert stand.plain(4) == []
    assert stand.plain(1) == ["[prd] [   37 s] creating aws_lb_listener.http, 7 of 8 done"]
    assert stand.plain(29) == []
    assert stand.plain(1) == ["[prd] [   67 s] creating aws_lb_listener.http, 7 of 8 done"]


def test_who_tells_lines_is_not_repeated_by_plain_ones_but_after_a_while(stand: Stand) -> None:
    stand.begin()
    stand.tell(line="new 0/1 running, 1 pending")
    assert len(stand.plain(1)) == 1
    stand.tell(now="IN_PROGRESS")
    assert stand.plain(20) == []
    assert stand.plain(10) == ["[prd] [   31 s] IN_PROGRESS"]


def test_half_a_line_waits_for_its_rest_and_what_is_none_of_ours_is_left_out(stand: Stand) -> None:
    stand.begin()
    stand.append(b'{"line": "fir')
    assert stand.tasks.look(plain=False) == []
    stand.append(b'st"}\n\n[1]\n"x"\n{}\nnoise\n\xff\xfe\n{"line": 7, "now": null}\n{"line": "last"}\n')
    assert [line[16:] for line in stand.tasks.look(plain=False)] == ["first", "last"]


def test_nothing_that_a_terminal_obeys_is_shown_whoever_wrote_the_file(stand: Stand) -> None:
    stand.begin("prd\x1b[2J", "name\x1b[1m\nof two lines")
    stand.tell("prd\x1b[2J", line="a\x1b[31mb\u202e")
    [line] = stand.tasks.look(plain=False)
    stand.tell("prd\x1b[2J", now="c\x07\rd")
    assert line.isprintable() and "a\\x1b[31mb\\u202e" in line and "[prd\\x1b[2J]" in line
    live = stand.line(2)
    assert live.isprintable() and live.startswith("name\\x1b[1m of two lines") and live.endswith("c\\x07 d")


def test_of_a_secret_task_nothing_but_its_name_is_shown(stand: Stand) -> None:
    stand.begin(secret=True)
    stand.tell(line="hunter2", now="hunter2")
    assert stand.tasks.look(plain=True) == []
    assert stand.line(2) == "Wait for the ALB  0:02"


def test_a_file_that_is_gone_or_huge_changes_nothing(stand: Stand) -> None:
    stand.begin()
    stand.append(b"x" * 2 * MOST)
    stand.tell(line="never")
    assert stand.tasks.look(plain=True) == []
    stand.paths["prd"].unlink()
    assert stand.tasks.look(plain=True) == [] and stand.tasks.end("prd") == []


def test_a_file_is_for_its_owner_alone(stand: Stand) -> None:
    stand.begin()
    assert stand.paths["prd"].stat().st_mode & 0o777 == 0o600


def test_spans() -> None:
    assert [span(seconds) for seconds in (0, 59.9, 60, 3599, 3661)] == ["0:00", "0:59", "1:00", "59:59", "1:01:01"]
