"""The retry budget: what may be sent again is a share of what is sent anyway."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from camb_async._budget import EARNED, RESERVE, TRICKLE, RetryBudget


def test_a_new_session_may_insist_a_little() -> None:
    """The reserve is what the first trouble is met with."""
    budget = RetryBudget()
    spent = [budget.spend(0.0) for _ in range(30)]

    assert [True] * 20 + [False] * 10 == spent


def test_one_request_in_twenty_may_be_made_again() -> None:
    """In an outage the first tries go on, and few are added to them."""
    budget = RetryBudget()
    again = 0
    for _ in range(10_000):
        budget.earn()
        again += budget.spend(0.0)

    assert 500 <= again <= 520


def test_who_sends_little_gets_the_reserve_back_with_time() -> None:
    """One more try every twenty seconds, whatever is sent."""
    budget = RetryBudget()
    while budget.spend(100.0):
        pass

    assert not budget.spend(110.0)
    assert budget.spend(121.0)
    assert not budget.spend(121.0)


def test_no_more_is_saved_up_than_the_reserve() -> None:
    """A good month does not pay for a storm of tries in a bad minute."""
    budget = RetryBudget()
    for _ in range(100_000):
        budget.earn()
    spent = sum(budget.spend(1e9) for _ in range(1_000))

    assert 20 == spent


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 100.0)), max_size=300))
def test_no_more_is_spent_than_was_there(
    story: list[tuple[bool, float]],
) -> None:
    """Whatever comes when, and though the clock should ever step back."""
    budget = RetryBudget()
    latest, earned, spent = 0.0, 0, 0
    for earns, now in story:
        latest = max(latest, now)
        if earns:
            budget.earn()
            earned += 1
        else:
            spent += budget.spend(now)

        assert spent <= RESERVE + earned * EARNED + latest * TRICKLE + 1e-9
