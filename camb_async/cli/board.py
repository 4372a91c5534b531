"""What has become of the tasks so far."""

from __future__ import annotations

import time
from collections import Counter

import attrs

from camb_async import (
    APIStatusError,
    ConfigurationError,
    TaskRef,
    Transition,
    WatcherStats,
)

from .exits import ExitCode, code_of_all, code_of_error
from .output import outcome_of


@attrs.define
class Board:
    """The tasks asked for, and the final transition of each that has ended.

    ``total`` is how many there will be, if they are not all known yet.
    """

    tasks: list[TaskRef]
    total: int = attrs.field(
        default=attrs.Factory(lambda self: len(self.tasks), takes_self=True)
    )
    ended: dict[TaskRef, Transition] = attrs.field(factory=dict[TaskRef, Transition])
    _began: float = attrs.field(factory=time.monotonic)

    def take(self, transition: Transition) -> None:
        """Take note of a transition."""
        if transition.is_final:
            self.ended[transition.task] = transition

    @property
    def elapsed(self) -> float:
        """Seconds since the board was set up."""
        return time.monotonic() - self._began

    @property
    def unfinished(self) -> list[TaskRef]:
        """The tasks about which nothing final is known."""
        return [task for task in self.tasks if task not in self.ended]

    @property
    def expired(self) -> list[TaskRef]:
        """The tasks whose deadline passed: they may still succeed."""
        return [
            task
            for task, transition in self.ended.items()
            if code_of_error(transition.error) is ExitCode.DEADLINE
        ]

    @property
    def exit_code(self) -> ExitCode:
        """What the process tells about all of them."""
        return code_of_all(transition.error for transition in self.ended.values())

    def outcomes(self) -> list[tuple[Transition, int]]:
        """Return one transition of each outcome and how many there were."""
        counts = Counter(outcome_of(transition) for transition in self.ended.values())
        samples = {outcome_of(each): each for each in self.ended.values()}
        return [(samples[outcome], count) for outcome, count in counts.most_common()]

    def ridden_out(self, stats: WatcherStats) -> int:
        """Return how many polls failed without ending a task."""
        ending = (APIStatusError, ConfigurationError)
        lost = sum(
            each.polls if each.state is None else isinstance(each.error, ending)
            for each in self.ended.values()
        )
        return max(0, stats.failed_polls - lost)
