"""The page that compares what two clients survive shows what a run shows."""

from __future__ import annotations

import asyncio

import pytest

from .cases.catalogue import CASES, Group
from .survival.table import NOT_COMPARED, PAGE, PROBES, page_part


ROWS = [line.split(" | ") for line in PAGE.read_text().splitlines() if " | " in line]
_UNDER_LOAD = tuple(
    f"| {number}. " for number, case in CASES.items() if case.group is Group.LOAD
)


def test_every_case_is_compared_or_has_a_reason() -> None:
    """No case is left out in silence, and no reason has outlived its case."""
    compared = {probe.case for probe in PROBES}

    assert set(CASES) == compared | set(NOT_COMPARED)
    assert not compared & set(NOT_COMPARED)


def test_the_page_shows_every_probe() -> None:
    """Run ``python -m tests.survival`` if this fails."""
    shown = {row[0] for row in ROWS}

    assert {f"| {probe.case}. {probe.what}" for probe in PROBES} <= shown


def test_the_page_has_no_failure_of_ours() -> None:
    """What camb_async does not survive is mended, not published."""
    ours = [row[1] for row in ROWS if row[0][2].isdigit()]

    assert len(ours) == len(PROBES) + len(NOT_COMPARED)
    assert [cell for cell in ours if "✗" in cell] == []


def _comparable(line: str) -> str:
    # How many tasks the other client loses under load is a matter of the machine.
    return line.rpartition(" | ")[0] if line.startswith(_UNDER_LOAD) else line


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_is_what_a_run_shows() -> None:
    """Run ``python -m tests.survival`` if this fails."""
    # The line above the tables has versions, which may be others here.
    _versions, *tables = asyncio.run(page_part()).splitlines()
    shown = {_comparable(line) for line in PAGE.read_text().splitlines()}

    assert [line for line in tables if _comparable(line) not in shown] == []
