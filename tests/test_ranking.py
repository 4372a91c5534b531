"""Who goes next: the most valuable once some have to wait, and nobody never."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async._ranking import PATIENCE, Ranking, Worth


def worth(value: float) -> Worth[Any]:
    """Return a worth that never changes."""
    return lambda _item, _now: value


def filled(values: dict[str, float], since: float = 0.0) -> Ranking[str]:
    """Return a queue of items that have these values."""
    ranking: Ranking[str] = Ranking()
    for item, value in values.items():
        ranking.put(item, worth(value), since)
    return ranking


def emptied(ranking: Ranking[str], now: float, seed: int = 0) -> list[str]:
    """Take all items out, one after the other."""
    random = Random(seed)
    return [ranking.take(now, random.random()) for _ in range(len(ranking))]


def test_who_need_not_wait_goes_in_order() -> None:
    """Below the patience, values are not even asked for."""
    ranking = filled({"a": 1.0, "b": 3.0, "c": 2.0})

    assert ["a", "b", "c"] == emptied(ranking, PATIENCE)


def test_the_most_valuable_goes_first() -> None:
    """Where few wait, the very best of them is found; then it is the turn of age."""
    ranking = filled({"a": 1.0, "b": 3.0, "c": 2.0})

    assert ["b", "a", "c"] == emptied(ranking, 1.0)


def test_of_equals_the_oldest_goes_first() -> None:
    """Without a difference in value the queue is a queue."""
    ranking: Ranking[str] = Ranking()
    for number, item in enumerate("abcd"):
        ranking.put(item, worth(1.0), float(number))

    assert list("abcd") == emptied(ranking, 10.0)


def test_a_value_is_that_of_the_moment() -> None:
    """It may grow while the item waits."""
    ranking: Ranking[str] = Ranking()
    ranking.put("steady", worth(5.0), 0.0)
    ranking.put("growing", lambda _item, now: now, 0.0)

    assert "steady" == ranking.take(4.0, 0.0)

    ranking.put("steady", worth(5.0), 4.0)

    assert "growing" == ranking.take(6.0, 0.0)


def test_every_other_turn_is_that_of_the_oldest() -> None:
    """However little it is worth, it is not passed over for ever."""
    ranking = filled({"worthless": -1.0})
    order: list[str] = []
    for number in range(20):
        ranking.put(f"new {number}", worth(1.0), 1.0)
        order.append(ranking.take(2.0, 0.0))

    assert 1 == order.index("worthless")


def test_among_many_a_good_one_is_found() -> None:
    """Of a thousand, those not taken for their age are among the best, as a rule."""
    ranking = filled({str(value): float(value) for value in range(1000)})
    random = Random(1)
    taken = [int(ranking.take(1.0, random.random())) for _ in range(100)]
    valuable = [value for value in taken if value >= 900]

    assert len(valuable) >= 35
    assert set(range(50)) <= set(taken)


@pytest.mark.parametrize("item", ["a", "b", "c"])
def test_who_gives_up_is_gone(item: str) -> None:
    """The others keep their places."""
    ranking = filled({"a": 1.0, "b": 3.0, "c": 2.0})
    ranking.discard(item)
    ranking.discard(item)

    assert [i for i in "bca" if i != item] == emptied(ranking, 1.0)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 30), st.floats(-1e9, 1e9)),
            st.tuples(st.just("discard"), st.integers(0, 30), st.just(0.0)),
            st.tuples(
                st.just("take"), st.just(0), st.floats(0.0, 1.0, exclude_max=True)
            ),
        ),
        max_size=300,
    )
)
def test_each_item_comes_out_once(story: list[tuple[str, int, float]]) -> None:
    """Whatever comes and goes: nobody is lost, and nobody comes twice."""
    ranking: Ranking[int] = Ranking()
    waiting: set[int] = set()
    for now, (what, item, number) in enumerate(story):
        if what == "put" and item not in waiting:
            ranking.put(item, worth(number), float(now))
            waiting.add(item)
        elif what == "discard":
            ranking.discard(item)
            waiting.discard(item)
        elif what == "take" and waiting:
            waiting.remove(ranking.take(float(now), number))

        assert len(waiting) == len(ranking)
