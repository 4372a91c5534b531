"""The settings: what they accept, and the shape of the back-off."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st

from camb_async.policies import Limits, RetryPolicy


NO_NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, -1, -0.5, "5", [1]]

units = st.floats(0.0, 1.0, exclude_max=True)
settings = st.builds(
    RetryPolicy,
    backoff_initial=st.floats(1e-6, 1e6),
    backoff_max=st.floats(1e-6, 1e6),
)


def seeded(seed: int) -> Random:
    """Return a random source that is the same every time."""
    return Random(seed)


def make_rate(value: Any) -> Any:
    """Return limits with this rate."""
    return Limits(max_rate=value)


def make_initial(value: Any) -> Any:
    """Return a policy with this first bound."""
    return RetryPolicy(backoff_initial=value)


def make_max(value: Any) -> Any:
    """Return a policy with this last bound."""
    return RetryPolicy(backoff_max=value)


def make_grace(value: Any) -> Any:
    """Return a policy with this grace."""
    return RetryPolicy(not_found_grace=value)


def make_in_flight(value: Any) -> Any:
    """Return limits with this concurrency."""
    return Limits(max_in_flight=value)


def make_attempts(value: Any) -> Any:
    """Return a policy with this many attempts."""
    return RetryPolicy(attempts=value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 0.0], ids=repr)
@pytest.mark.parametrize("make", [make_rate, make_initial, make_max])
def test_a_number_above_zero_is_required(
    make: Callable[[Any], Any], value: Any
) -> None:
    """What is no finite number above zero is refused by name."""
    with pytest.raises(ValueError, match=r"(rate|initial|max) must be a number above"):
        make(value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_a_grace_of_at_least_zero_is_required(value: Any) -> None:
    """A grace is a finite number, and may be none at all."""
    with pytest.raises(ValueError, match="not_found_grace must be a number of at"):
        make_grace(value)

    assert make_grace(0).not_found_grace == 0


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1.0, 2.5], ids=repr)
@pytest.mark.parametrize("make", [make_in_flight, make_attempts])
def test_a_whole_number_of_at_least_one_is_required(
    make: Callable[[Any], Any], value: Any
) -> None:
    """What counts something is a whole number, and not nothing."""
    with pytest.raises(ValueError, match="must be a whole number of at least 1"):
        make(value)


def test_no_rate_at_all_is_a_setting() -> None:
    """None stands for no limit, where a number above zero is one."""
    assert Limits(max_rate=None).max_rate is None


def test_the_defaults_are_the_documented_ones() -> None:
    """Who says nothing gets the documented settings."""
    assert Limits(max_in_flight=32, max_rate=50.0) == Limits()
    assert RetryPolicy() == RetryPolicy(
        attempts=5, backoff_initial=0.5, backoff_max=30.0, not_found_grace=10.0
    )


@pytest.mark.parametrize("value", [Limits(8, 3.5), RetryPolicy(attempts=2)], ids=repr)
def test_settings_are_values(value: Limits | RetryPolicy) -> None:
    """Settings are equal by content, hashable, frozen, slotted and picklable."""
    assert value == pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
    assert {value} == {attrs.evolve(value)}
    assert not hasattr(value, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(type(value))[0].name, 1)
