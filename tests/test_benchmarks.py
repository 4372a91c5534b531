"""The benchmarks run, and the pages show what the last run of them found."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import attrs
import pytest

from .benchmarks import poll_cost, watch_cost
from .benchmarks.__main__ import DATA, FULL, PARTS, QUICK, measured, written
from .benchmarks.peers import PEERS
from .doc_blocks import ROOT


SMALLEST = attrs.evolve(
    QUICK,
    rounds=1,
    concurrencies=(1, 50),
    seconds=0.05,
    sizes=(10, 20),
    interval=0.2,
    budget_tasks=20,
    stored=200,
    hurry=8.0,
)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script that makes the pages."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    return importlib.import_module("make_performance")


def test_the_pages_show_the_data(pages: ModuleType) -> None:
    """Run ``python docs/make_performance.py`` if this fails."""
    data = pages.load()
    stale = [
        p for p in pages.PAGES if pages.renewed(p.read_text(), data) != p.read_text()
    ]
    stale += [
        name
        for name, draw in pages.PLOTS.items()
        if (pages.IMAGES / name).read_text() != draw(data)
    ]

    assert stale == []


def test_the_pages_show_all_tables_and_plots(pages: ModuleType) -> None:
    """Nothing is made in vain."""
    text = "".join(page.read_text() for page in pages.PAGES)

    assert [n for n in pages.TABLES if f"<!-- table: {n} -->" not in text] == []
    assert [n for n in pages.PLOTS if f"(diagrams/{n})" not in text] == []


def test_the_data_are_of_all_parts(pages: ModuleType) -> None:
    """No part was left out of the run that is committed, and it reads as it is."""
    data = pages.load()

    assert ["run", *PARTS] == list(data)
    assert written(data) == DATA.read_text()


@pytest.mark.slow
def test_each_client_polls() -> None:
    """Every client gets answers from the server, alone and with others."""
    rows = poll_cost.rows(1, 0.0, (1, 3))

    assert [(peer.name, many) for many in (1, 3) for peer in PEERS] == [
        (row.client, row.concurrency) for row in rows
    ]
    assert all(row.median > 0.0 for row in rows)


def test_watching_is_measured() -> None:
    """What a task costs is told for each way."""
    ours, theirs = watch_cost.rows([10], 0.1)

    assert ["TaskWatcher", "a coroutine per task"] == [ours.way, theirs.way]
    assert ours.bytes > 0.0 < theirs.bytes
    assert ours.lag is not None
    assert theirs.lag is None


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_everything_is_measured_and_shown(pages: ModuleType) -> None:
    """The smallest run of all has the parts that tables and plots are made of."""
    data = measured(SMALLEST)

    assert all(make(data) for make in pages.TABLES.values())
    assert all("<svg" in draw(data) for draw in pages.PLOTS.values())


def test_a_quick_run_has_what_a_full_one_has() -> None:
    """What the pages compare is in both."""
    assert set(QUICK.stages) <= set(FULL.stages)
    assert set(QUICK.sizes) <= set(FULL.sizes)
