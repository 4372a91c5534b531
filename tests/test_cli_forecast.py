"""What the command line shows of when tasks are likely to be done."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from camb_async import (
    Eta,
    NotFoundError,
    TaskRef,
    TaskState,
    TaskStatus,
    Transition,
    WatchedTask,
    WatcherStats,
)
from camb_async.cli.board import Board
from camb_async.cli.forecast import RANGE_WIDTH, Forecast, range_of
from camb_async.cli.render import Frame, moving_line
from camb_async.cli.summary import summary
from camb_async.simulator import Simulator

from .cli_process import run


_TASK = TaskRef("one")
_STATS = WatcherStats(
    watching=1,
    in_flight=0,
    failing=0,
    polls=7,
    failed_polls=0,
    transitions=1,
    finished={},
    lag_p99=0.0,
)
_WATCHED = WatchedTask(
    task=_TASK,
    state=TaskState(TaskStatus.PENDING),
    elapsed=20.0,
    polls=7,
    next_poll=3.0,
    error=None,
)


def _eta(low: float, high: float) -> Eta:
    return Eta(done_by_now=0.5, low=low, median=(low + high) / 2, high=high)


def _shown(what: RenderableType, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding, errors="backslashreplace")
    Console(file=file, width=width, highlight=False).print(what)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.0, "0-0 s"),
        (0.3, 0.8, "0-1 s"),
        (21.0, 44.0, "20-45 s"),
        (29.9, 30.1, "20-45 s"),
        (89.0, 91.0, "60 s-2 min"),
        (130.0, 290.0, "2-5 min"),
        (5300.0, 8000.0, "60 min-3 h"),
        (80_000.0, 90_000.0, "over 20 h"),
        (20.0, 1e8, "over 20 s"),
    ],
)
def test_ranges_have_round_ends_and_hold_what_is_expected(
    low: float, high: float, expected: str
) -> None:
    """The lower end is rounded down and the upper one up, in the unit that fits."""
    assert expected == range_of(_eta(low, high))


def test_every_range_fits_its_column() -> None:
    """Whatever is expected, nothing of it is cut off."""
    seconds = [1.07**power for power in range(200)]
    widths = {
        len(range_of(_eta(low, high)))
        for low in seconds
        for high in seconds
        if low <= high
    }

    assert max(widths) == RANGE_WIDTH


@pytest.mark.parametrize(
    ("low", "high", "bar"),
    [
        (20.0, 20.0, "━━━┈┈┈"),
        (10.0, 100.0, "━╍╍╍┈┈"),
        (0.0, 1e6, "╍╍╍╍╍╍"),
        (0.0, 0.0, "━━━━━━"),
        (1e6, 1e6, "╍┈┈┈┈┈"),
    ],
)
def test_a_bar_is_as_vague_as_what_is_known(low: float, high: float, bar: str) -> None:
    """Solid is what is over at least, dashed what may be: wide where that is."""
    shown = _shown(Forecast(20.0, _eta(low, high)), 18)

    assert bar == shown.split()[0]


def test_a_bar_in_plain_ascii() -> None:
    """Where the terminal knows no more, the bar is made of less."""
    shown = _shown(Forecast(20.0, _eta(10.0, 100.0)), 18, "ascii")

    assert "=---.. 10 s-2 min" == shown.strip()


def _table(width: int, eta: Eta | None) -> list[str]:
    frame = Frame(Board([_TASK]), [_WATCHED], _STATS, lambda _task: eta)
    head, row, *_ = _shown(frame, width).splitlines()
    return [" ".join(head.split()), row]


@pytest.mark.parametrize(
    ("width", "head", "left"),
    [
        (120, "task state age polls likely left next", "━╍╍╍┈┈ 10 s-2 min"),
        (100, "task state age polls likely left next", "━╍╍╍┈┈ 10 s-2 min"),
        (99, "task state age polls likely left next", "7  10 s-2 min"),
        (88, "task state age polls likely left next", "7  10 s-2 min"),
        (80, "task state age likely left next", "10 s-2 min"),
        (71, "task state age polls next", "7  poll in 3.0 s"),
    ],
)
def test_the_table_has_what_there_is_room_for(width: int, head: str, left: str) -> None:
    """First the bar goes, then the polls, then the range; the next poll stays."""
    shown, row = _table(width, _eta(10.0, 100.0))

    assert head == shown
    assert left in row
    assert "poll in 3.0 s" in row
    assert len(row.rstrip()) < min(width, 100)


def test_the_table_while_nothing_is_known() -> None:
    """There is no column for what nobody knows."""
    head, _row = _table(100, None)

    assert "task state age polls next" == head


def test_the_line_of_one_task() -> None:
    """It says what is likely left, if anything is known of that."""
    known = moving_line(_WATCHED, _eta(10.0, 25.0)).plain

    assert "⏳ PENDING · 20.0 s · likely 10-30 s left · poll in 3.0 s" == known
    assert "⏳ PENDING · 20.0 s · poll in 3.0 s" == moving_line(_WATCHED, None).plain


def test_the_table_and_the_summary_agree() -> None:
    """A wrong id has one name and one piece of advice, wherever it is shown."""
    board = Board([_TASK])
    board.take(
        Transition(
            task=_TASK,
            previous=None,
            state=None,
            error=NotFoundError("no such task", status_code=404),
            at=datetime.now(UTC),
            elapsed=1.0,
            uncertainty=None,
            polls=1,
        )
    )
    table = _shown(Frame(board, [], _STATS, lambda _task: None))
    last_words = _shown(summary(board, _STATS))

    for shown in (table, last_words):
        assert "❗ NotFoundError" in shown
        assert "check the id" in shown


def test_an_outage_is_told_once_on_a_pipe() -> None:
    """Before the deadline somebody learns that nothing answers, and why."""
    args = ("watch", "one", "two", "--deadline", "5")
    nowhere = "http://127.0.0.1:9/apis"
    ended = asyncio.run(run(*args, CAMB_API_KEY="k", CAMB_BASE_URL=nowhere))
    first, *_ = ended.err.splitlines()

    assert 6 == ended.code
    assert first.startswith("camb-async: no poll succeeds; it goes on: No connection")
    assert 1 == ended.err.count("no poll succeeds")


def test_faults_are_no_outage() -> None:
    """While one task of several is answered, nothing is told."""

    async def main() -> str:
        async with Simulator() as simulator:
            good = simulator.add_task(after=60)
            bad = simulator.add_task(after=2.5)
            simulator.fail("503", times=None, task_id=bad)
            options = ("--deadline", "3", "--interval", "0.2")
            return (await run("watch", good, bad, *options, simulator=simulator)).err

    assert "no poll succeeds" not in asyncio.run(main())
