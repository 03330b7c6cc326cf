"""Which test begins when, and on which worker, when all of them run at once; what is told in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

LONGEST = [
    "test_alarm_drill",
    "test_run_faults",
    "test_alb_smoke",
    "test_scenarios",
    "test_installed",
    "test_redaction",
    "test_database_proof",
    "test_release",
    "test_preflight_faults",
    "test_least_privilege",
    "test_audit",
    "test_runner",
    "test_interrupts",
    "test_schema",
    "test_terraform",
    "test_docs_script",
]
"""Files that begin first, or they would be what everybody waits for in the end; after them the other playbooks."""

PLAYBOOKS = {"e2e", "molecule"}
"""Folders whose tests run whole playbooks in one local AWS for all; those of others share what a file makes."""

TOGETHER = {
    "test_alb_smoke",
    "test_audit",
    "test_database_proof",
    "test_least_privilege",
    "test_preflight_faults",
    "test_redaction",
    "test_release",
    "test_rollout",
    "test_run_faults",
}
"""Files of theirs whose tests look at the same costly runs."""

BY_ITSELF = {
    "test_C6_sigint_in_the_middle_of_the_rollout",
    "test_F3_an_interrupted_rollout_is_not_shown_as_fine",
    "test_F_check_mode_shows_the_whole_plan_and_writes_nothing",
    "test_F_without_a_change_nothing_is_pushed_or_registered_and_C6_sigint_in_the_smoke",
    "test_a_second_service_is_proved_by_variables_alone",
    "test_check_mode_predicts_and_writes_nothing",
    "test_J1_a_signing_key_that_is_not_there_is_refused_before_anything_exists",
    "test_the_playbook_is_the_same_from_inside_playbooks",
}
"""Tests in these files that look at a run of their own."""


class ByWhatTheyShare(LoadScopeScheduling):
    """Tests that share something costly go to one worker, any other to whoever is free; in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        name, _separator, test = nodeid.partition("::")
        path = Path(name)
        shared = path.parent.name not in PLAYBOOKS or (path.stem in TOGETHER and test not in BY_ITSELF)
        return name if shared else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByWhatTheyShare:
    return ByWhatTheyShare(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    begin = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: begin.get(item.path.stem, len(begin) + (item.path.parent.name not in PLAYBOOKS)))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """How long each scenario of molecule took, from all workers."""
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    properties = (each for report in reports for each in getattr(report, "user_properties", ()))
    told = sorted({str(text) for name, text in properties if name == "molecule"})
    if told:
        terminalreporter.section("molecule")
    for line in told:
        terminalreporter.line(line)
