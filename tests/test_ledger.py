"""What a worker holds, and how it enters what a watcher tells."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from camb_async import (
    DeadlineExceededError,
    StoredTask,
    TaskRef,
    TaskState,
    TaskStatus,
    Transition,
)
from camb_async.stores._ledger import Ledger

from .fakes import refused


# The ledger is seen from inside only.
# pyright: reportPrivateUsage=false

TASK = TaskRef("a")
PENDING = TaskState(TaskStatus.PENDING)
ADDED = 1_000.0
STORED = StoredTask(
    watch="w1", task=TASK, context=None, added=ADDED, deadline_at=ADDED + 60
)
TOLD = attrs.evolve(STORED, last_state=PENDING, last_at=1_010.0, polls=4, seq=1)


def seen(status: str, at: float, **options: Any) -> Transition:
    """Return what a watcher tells of the task at this time of the wall clock."""
    options.setdefault("previous", None)
    options.setdefault("error", None)
    options.setdefault("uncertainty", None)
    return Transition(
        task=TASK,
        state=TaskState(TaskStatus(status)),
        at=datetime.fromtimestamp(at, UTC),
        elapsed=5.0,
        polls=2,
        **options,
    )


def held(stored: StoredTask, since: float) -> Ledger:
    """Return a ledger that holds this."""
    ledger = Ledger()
    ledger.take(stored, since)
    return ledger


def entered(ledger: Ledger, transition: Transition) -> Transition:
    """Return what is to be recorded of a task that is held."""
    result = ledger.enter(transition)
    assert result is not None

    return result


def test_transitions_get_the_numbers_of_their_watch() -> None:
    """Numbers go on from what is recorded; a final one ends the holding."""
    ledger = held(TOLD, 1_020.0)
    keys = [entered(ledger, seen(s, 1_025.0)).key for s in ("UNKNOWN", "SUCCESS")]

    assert [("w1", 2), ("w1", 3)] == keys
    assert 0 == len(ledger)
    assert ledger.enter(seen("SUCCESS", 1_030.0)) is None


def test_what_was_before_counts() -> None:
    """Time and polls are those of the whole watch, not of this holding."""
    transition = entered(held(TOLD, 1_020.0), seen("SUCCESS", 1_025.0))

    assert 25.0 == transition.elapsed
    assert 6 == transition.polls


def test_a_clock_that_was_put_back_takes_nothing_away() -> None:
    """The wall clock may jump between two starts."""
    transition = entered(held(TOLD, 900.0), seen("SUCCESS", 905.0))

    assert 5.0 == transition.elapsed
    assert 0.0 == transition.uncertainty


@pytest.mark.parametrize(
    ("stored", "told", "expected"),
    [
        (STORED, None, None),
        (STORED, 2.0, 2.0),
        (TOLD, None, 15.0),
        (TOLD, 2.0, 2.0),
        (TOLD, 99.0, 15.0),
    ],
)
def test_a_first_change_may_have_been_while_nobody_watched(
    stored: StoredTask, told: float | None, expected: float | None
) -> None:
    """Since the last change that is recorded, if the watcher cannot say better."""
    transition = seen("SUCCESS", 1_025.0, uncertainty=told)

    assert expected == entered(held(stored, 1_020.0), transition).uncertainty


def test_later_changes_are_as_uncertain_as_the_watcher_says() -> None:
    """It has seen the one before by itself."""
    ledger = held(TOLD, 1_020.0)
    ledger.enter(seen("UNKNOWN", 1_025.0))

    assert 99.0 == entered(ledger, seen("SUCCESS", 1_026.0, uncertainty=99)).uncertainty


@pytest.mark.parametrize("cause", [None, refused("no route")])
def test_a_deadline_tells_of_the_whole_wait(cause: Exception | None) -> None:
    """Its message and its data count from when the task was added."""
    error = DeadlineExceededError("", task=TASK, state=PENDING, elapsed=5.0)
    error.__cause__ = cause
    late = entered(held(TOLD, 1_020.0), seen("PENDING", 1_025.0, error=error)).error

    assert isinstance(late, DeadlineExceededError)
    assert 25.0 == late.elapsed
    assert "after 25.0 s" in str(late)
    assert cause is late.__cause__


def test_other_errors_are_passed_on() -> None:
    """So is a deadline of a task that was taken at once."""
    error = DeadlineExceededError("", task=TASK, state=PENDING, elapsed=5.0)

    assert error is entered(held(TOLD, ADDED), seen("PENDING", 5, error=error)).error
    other = refused()
    assert other is entered(held(TOLD, 2_000), seen("PENDING", 5, error=other)).error


def test_what_is_dropped_is_forgotten() -> None:
    """By its watch, or all at once."""
    ledger = held(STORED, ADDED)

    assert ledger.drop("other") is None
    assert TASK == ledger.drop("w1")
    assert 0 == len(ledger)
    ledger.take(STORED, ADDED)
    assert [TASK] == ledger.clear()
    assert ledger.drop("w1") is None


def test_a_task_that_was_added_again_is_another_watch() -> None:
    """To drop the earlier watch, which is heard of late, does not touch it."""
    ledger = held(STORED, ADDED)
    ledger.take(attrs.evolve(STORED, watch="w2"), ADDED)

    assert ledger.drop("w1") is None
    assert ("w2", 1) == entered(ledger, seen("PENDING", ADDED)).key


@pytest.mark.parametrize(
    ("now", "expected"), [(1_000.0, 60.0), (1_059.5, 0.5), (2_000.0, 0.0)]
)
def test_a_deadline_passes_while_nobody_runs(now: float, expected: float) -> None:
    """It is a time of the wall clock; none is less than no time at all."""
    assert expected == STORED.seconds_left(now)
    assert attrs.evolve(STORED, deadline_at=None).seconds_left(now) is None
