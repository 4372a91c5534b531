"""What is due when, held against a naive model."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from camb_async._agenda import BUCKET_WIDTH, Agenda


# Clock readings are sums of floats: one unit in the last place is no time at all.
EPSILON = 1e-9

times = st.floats(0.0, 100.0) | st.integers(0, 500).map(lambda n: n * BUCKET_WIDTH)
far_times = st.floats(-1e7, 1e7)


def slots_kept(agenda: Agenda[int]) -> int:
    """Return how many slots the agenda remembers, emptied ones included."""
    return len(agenda._order)  # pyright: ignore[reportPrivateUsage]


def test_an_item_comes_out_when_it_is_due() -> None:
    """Not before, and not twice."""
    agenda: Agenda[str] = Agenda()
    slot = agenda.put("a", 1.0)

    assert agenda.next_due() == pytest.approx(1.0, abs=BUCKET_WIDTH)
    assert agenda.next_due() == agenda.time_of(slot)
    assert [] == agenda.pop_due(0.97)
    assert ["a"] == agenda.pop_due(1.02)
    assert [] == agenda.pop_due(5.0)
    assert (0, None) == (len(agenda), agenda.next_due())


def test_items_of_one_bucket_come_out_together() -> None:
    """One wake-up serves all that are due within a width, in order of entry."""
    agenda: Agenda[str] = Agenda()
    slots = [agenda.put(name, due) for name, due in [("b", 0.995), ("a", 0.985)]]

    assert slots[0] == slots[1]
    assert len(agenda) == 2
    assert ["b", "a"] == agenda.pop_due(agenda.time_of(slots[0]))


def test_buckets_come_out_in_order() -> None:
    """What was due first comes out first."""
    agenda: Agenda[int] = Agenda()
    for due in (5, 1, 4, 2, 3):
        agenda.put(due, float(due))

    assert [1, 2, 3] == agenda.pop_due(3.5)
    assert [4, 5] == agenda.pop_due(math.inf)


def test_an_item_may_be_put_twice() -> None:
    """Two places are two appearances, unless they are the same slot."""
    agenda: Agenda[str] = Agenda()
    agenda.put("a", 1.0)
    agenda.put("a", 1.0)
    agenda.put("a", 2.0)

    assert ["a", "a"] == agenda.pop_due(3.0)


def test_what_was_removed_does_not_come_out() -> None:
    """A removed item leaves its neighbours alone."""
    agenda: Agenda[str] = Agenda()
    slot = agenda.put("a", 1.0)
    agenda.put("b", 1.0)
    agenda.remove("a", slot)

    assert ["b"] == agenda.pop_due(2.0)
    with pytest.raises(KeyError):
        agenda.remove("a", slot)


def test_a_slot_that_was_emptied_can_be_filled_again() -> None:
    """Its place in the order is there twice, and its items come out once."""
    agenda: Agenda[str] = Agenda()
    agenda.remove("a", agenda.put("a", 1.0))
    agenda.put("b", 1.0)

    assert ["b"] == agenda.pop_due(2.0)
    assert agenda.next_due() is None


def test_an_emptied_slot_is_not_due() -> None:
    """The next wake-up is for something that is there."""
    agenda: Agenda[str] = Agenda()
    slot = agenda.put("a", 1.0)
    later = agenda.put("b", 2.0)
    agenda.remove("a", slot)

    assert agenda.time_of(later) == agenda.next_due()


def test_clear_takes_out_everything() -> None:
    """A cleared agenda is as good as new."""
    agenda: Agenda[str] = Agenda()
    agenda.put("a", 1.0)
    agenda.clear()

    assert (0, None, []) == (len(agenda), agenda.next_due(), agenda.pop_due(9.0))


def test_a_width_of_ones_own() -> None:
    """A coarser agenda gathers more into one bucket."""
    agenda: Agenda[int] = Agenda(width=10.0)
    slots = {agenda.put(due, float(due)) for due in range(1, 11)}

    assert {1} == slots
    assert agenda.next_due() == 10.0


@given(far_times)
def test_an_item_is_at_the_most_a_width_late(due: float) -> None:
    """The price of the buckets is bounded, early or late in the life of a clock."""
    agenda: Agenda[str] = Agenda()
    lateness = agenda.time_of(agenda.put("a", due)) - due

    assert -EPSILON <= lateness <= BUCKET_WIDTH + EPSILON


@pytest.mark.parametrize("due", [0.060000000000000005, 3999.6400000000003])
def test_an_item_is_never_early_not_even_by_rounding(due: float) -> None:
    """A deadline that is compared with the clock has come when the clock says so."""
    agenda: Agenda[str] = Agenda()

    assert due <= agenda.time_of(agenda.put("a", due))


def test_far_slots_that_were_emptied_do_not_add_up() -> None:
    """Putting off and taking back for months leaves nothing behind."""
    agenda: Agenda[int] = Agenda()
    agenda.put(-1, 0.5)
    largest = 0
    for n in range(20_000):
        agenda.remove(n, agenda.put(n, 3600.0 + n))
        largest = max(largest, slots_kept(agenda))

    assert largest <= 2 + 64 + 1
    assert [-1] == agenda.pop_due(1.0)


def test_sweeping_keeps_the_order() -> None:
    """What is left after many removals still comes out first things first."""
    agenda: Agenda[int] = Agenda()
    slots = {n: agenda.put(n, float(n)) for n in range(200, 0, -1)}
    for n in range(200, 0, -1):
        if n % 10:
            agenda.remove(n, slots[n])

    assert slots_kept(agenda) < 200
    assert list(range(10, 201, 10)) == agenda.pop_due(300.0)


def test_putting_off_many_items_again_and_again_stays_small() -> None:
    """With 1000 items on the move, the order holds a few thousand at the most."""
    agenda: Agenda[int] = Agenda()
    slots = [agenda.put(n, n * 0.1) for n in range(1000)]
    largest = 0
    for turn in range(1, 30):
        for n in range(1000):
            agenda.remove(n, slots[n])
            slots[n] = agenda.put(n, n * 0.1 + turn * 7.3)
        largest = max(largest, slots_kept(agenda))

    assert len(agenda) == 1000
    assert largest <= 2 * 1000 + 64 + 1


class AgendaMachine(RuleBasedStateMachine):
    """The agenda beside a dict of due times, over any story."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda: Agenda[int] = Agenda()
        self.due: dict[int, float] = {}
        self.slots: dict[int, int] = {}
        self.now = 0.0
        self.count = 0
        self.most = 0

    def enter(self, wait: float) -> int:
        """Enter the next item into the agenda and the model."""
        self.count += 1
        self.due[self.count] = self.now + wait
        self.slots[self.count] = self.agenda.put(self.count, self.now + wait)
        self.most = max(self.most, len(self.due))
        return self.count

    items = Bundle[int]("items")

    @rule(target=items, wait=times)
    def put(self, wait: float) -> int:
        """Enter a new item, to be due some time from now."""
        return self.enter(wait)

    @rule(target=items, waits=st.lists(times, max_size=50))
    def put_many(self, waits: list[float]) -> MultipleResults[int]:
        """Enter many items at once."""
        return multiple(*[self.enter(wait) for wait in waits])

    @rule(item=consumes(items))
    def remove(self, item: int) -> None:
        """Take an item out again, if it has not come out yet."""
        if item in self.due:
            del self.due[item]
            self.agenda.remove(item, self.slots.pop(item))

    @rule(item=items, wait=times)
    def put_off(self, item: int, wait: float) -> None:
        """Move an item to another time."""
        if item in self.due:
            self.agenda.remove(item, self.slots[item])
            self.due[item] = self.now + wait
            self.slots[item] = self.agenda.put(item, self.now + wait)

    @rule(step=times)
    def pop(self, step: float) -> None:
        """Let time pass, and take out what is due."""
        self.now += step
        out = self.agenda.pop_due(self.now)
        for item in out:
            assert self.due[item] <= self.now + EPSILON
        slots = [self.slots.pop(item) for item in out]
        assert sorted(slots) == slots
        for item in out:
            del self.due[item]
        width = BUCKET_WIDTH + EPSILON
        assert all(self.now < due + width for due in self.due.values())

    @rule()
    def pop_next(self) -> None:
        """Sleep until the next item is due: it comes out."""
        when = self.agenda.next_due()
        if when is not None:
            self.now = max(self.now, when)
            out = self.agenda.pop_due(self.now)

            assert out
            for item in out:
                del self.due[item], self.slots[item]

    @rule()
    def clear(self) -> None:
        """Take out everything."""
        self.agenda.clear()
        self.due.clear()
        self.slots.clear()

    @invariant()
    def holds_what_was_put(self) -> None:
        """As many items as the model, and the next one due as in the model."""
        assert len(self.due) == len(self.agenda)
        when = self.agenda.next_due()
        assert (when is None) is (not self.due)
        if when is not None:
            first = min(self.due.values())
            assert first - EPSILON <= when <= first + BUCKET_WIDTH + EPSILON

    @invariant()
    def stays_small(self) -> None:
        """The order holds no more than the most items there were allow."""
        assert slots_kept(self.agenda) <= 2 * self.most + 64 + 1


AgendaMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAgenda = AgendaMachine.TestCase
