"""How hard to push and how long to insist: the settings of a session."""

from __future__ import annotations

import math
from typing import Any

import attrs


def positive(_settings: object, field: attrs.Attribute[Any], value: float) -> None:
    """Refuse anything but a finite number above zero (an attrs validator)."""
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        message = f"{field.name} must be a number above 0, not {value!r}"
        raise ValueError(message)


def not_negative(_settings: object, field: attrs.Attribute[Any], value: float) -> None:
    """Refuse anything but a finite number of at least zero (an attrs validator)."""
    if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
        message = f"{field.name} must be a number of at least 0, not {value!r}"
        raise ValueError(message)


def positive_or_none(
    settings: object, field: attrs.Attribute[Any], value: float | None
) -> None:
    """Refuse what ``positive`` refuses, unless it is None (an attrs validator)."""
    if value is not None:
        positive(settings, field, value)


def _at_least_one(_settings: object, field: attrs.Attribute[Any], value: int) -> None:
    if not isinstance(value, int) or value < 1:
        message = f"{field.name} must be a whole number of at least 1, not {value!r}"
        raise ValueError(message)


@attrs.frozen
class Limits:
    """What one session sends at the most, over all its watchers and calls.

    Attributes:
        max_in_flight: requests under way at one time.
        max_rate: requests a second, or None for no limit. At most 0.1 seconds
            of it are saved up while idle, so an idle time is not paid back in
            a burst.

    Raises:
        ValueError: one is not a number in its range.
    """

    max_in_flight: int = attrs.field(default=32, validator=_at_least_one)
    max_rate: float | None = attrs.field(default=50.0, validator=positive_or_none)


@attrs.frozen
class RetryPolicy:
    """How failed reads are made again: exponential back-off with full jitter.

    Attributes:
        attempts: how often a single read is tried at the most. A watch goes on
            until its deadline, with the same back-off, but asks no less often
            than its schedule says. Further tries are bounded for the whole
            session, too: see "Live with rate limits" in the documentation.
        backoff_initial: seconds, the upper bound of the first delay.
        backoff_max: seconds, the upper bound of every delay. A single read
            gives up at once when the server asks it to wait longer.
        not_found_grace: seconds for which a 404 is taken for a task that is
            not visible yet, as long as nothing else is answered.

    Raises:
        ValueError: one is not a number in its range.
    """

    attempts: int = attrs.field(default=5, validator=_at_least_one)
    backoff_initial: float = attrs.field(default=0.5, validator=positive)
    backoff_max: float = attrs.field(default=30.0, validator=positive)
    not_found_grace: float = attrs.field(default=10.0, validator=not_negative)

    def backoff(self, failures: int, unit: float) -> float:
        """Return the seconds to wait after this many failures in a row (from 1).

        ``unit`` in [0, 1) is the jitter: delays are spread evenly from zero to
        the bound, which doubles with each failure up to ``backoff_max``.
        """
        # 2 ** 1024 overflows a float; 64 doublings exceed any sensible bound.
        doublings = min(max(failures - 1, 0), 64)
        return unit * min(self.backoff_max, self.backoff_initial * 2.0**doublings)
