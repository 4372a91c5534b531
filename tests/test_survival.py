"""The page that compares what two clients survive shows what a run shows."""

from __future__ import annotations

import asyncio

import pytest

from .cases.catalogue import CASES
from .survival.table import NOT_COMPARED, PAGE, PROBES, page_part


ROWS = [line.split(" | ") for line in PAGE.read_text().splitlines() if " | " in line]


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


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(180)
def test_the_page_is_what_a_run_shows() -> None:
    """Run ``python -m tests.survival`` if this fails."""
    # The line above the tables has versions, which may be others here.
    _versions, *tables = asyncio.run(page_part()).splitlines()
    shown = PAGE.read_text().splitlines()

    assert [line for line in tables if line not in shown] == []
