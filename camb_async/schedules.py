"""When to poll next: pure arithmetic on a task's age, with jitter.

A schedule owns its random source, so a seeded one is repeatable. Delays are
spread by 10 to 20 percent so that tasks which began together drift apart.
"""

from __future__ import annotations

from random import Random
from typing import Protocol, runtime_checkable

import attrs

from .models import TaskRef
from .policies import positive


@runtime_checkable
class PollSchedule(Protocol):
    """What decides when a task is polled next. All times are in seconds."""

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return the seconds until the next poll of a task of this age.

        ``age`` counts from when the task began; with ``age_known`` False nobody
        knows when that was, and it counts from when the task was added. Age 0.0
        asks for the first poll of a task that has just begun.
        """
        ...

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Take note that a task of known age ended between two polls.

        It was still pending at age ``lower`` and seen finished at age ``upper``
        (``math.inf``: it was given up). ``entry`` is its age when first polled.
        """
        ...


def spread(random: Random, share: float) -> float:
    """Return a factor that is drawn evenly from one, give or take this share."""
    return 1.0 + share * (2.0 * random.random() - 1.0)


@attrs.define
class FixedInterval:
    """Poll every ``seconds``, give or take 10 percent.

    Raises:
        ValueError: that is not a number above 0.
    """

    seconds: float = attrs.field(default=5.0, validator=positive)
    _random: Random = attrs.field(
        factory=Random, alias="random", kw_only=True, repr=False, eq=False
    )

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return the interval with its jitter, in seconds."""
        return self.seconds * spread(self._random, 0.1)

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Learn nothing: the interval is fixed."""


@attrs.define
class ShareOfAge:
    """Poll again after a share of the task's age: often at first, then rarely.

    The lateness of the last poll stays in proportion to how long the task took,
    whatever that was. The share is held between ``floor`` and ``cap`` seconds
    and spread by 20 percent either way.

    Raises:
        ValueError: one is not a number above 0, or the floor is above the cap.
    """

    share: float = attrs.field(default=0.15, validator=positive, kw_only=True)
    floor: float = attrs.field(default=0.5, validator=positive, kw_only=True)
    cap: float = attrs.field(default=15.0, validator=positive, kw_only=True)
    _random: Random = attrs.field(
        factory=Random, alias="random", kw_only=True, repr=False, eq=False
    )

    def __attrs_post_init__(self) -> None:
        if self.floor > self.cap:
            message = f"floor ({self.floor}) must not be above cap ({self.cap})"
            raise ValueError(message)

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return the bounded share of the age with its jitter, in seconds."""
        delay = min(self.cap, max(self.floor, self.share * age))
        return delay * spread(self._random, 0.2)

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Learn nothing: the share is fixed."""
