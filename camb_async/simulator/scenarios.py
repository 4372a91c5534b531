"""How a service behaves over time: how long tasks take, and how they end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from random import Random
from types import MappingProxyType

import attrs

from camb_async.models import TaskStatus

from .faults import Fault


@attrs.frozen
class Fate:
    """What will become of one task, ``duration`` seconds after its creation."""

    duration: float
    status: TaskStatus
    exception_reason: str | None = None
    message: str | None = None


def _as_faults(faults: Iterable[Fault | str]) -> tuple[Fault, ...]:
    return tuple(Fault.of(fault) for fault in faults)


def _as_outcomes(
    outcomes: Mapping[TaskStatus, float] | Mapping[str, float],
) -> dict[TaskStatus, float]:
    return {TaskStatus(status): weight for status, weight in outcomes.items()}


def _check_outcomes(
    _scenario: object, _field: object, value: Mapping[TaskStatus, float]
) -> None:
    if any(not status.is_final for status in value):
        message = f"outcomes must be final statuses, not {', '.join(value)}"
        raise ValueError(message)
    if min(value.values(), default=0) < 0 or sum(value.values()) <= 0:
        message = "outcomes need weights of at least 0, and one above 0"
        raise ValueError(message)


@attrs.frozen(kw_only=True)
class Scenario:
    """How long tasks take, how they end, and how often an answer goes wrong.

    Durations are lognormal: half of the tasks take longer than ``median``.

    Attributes:
        median: seconds.
        sigma: the spread of the durations' logarithm; 0.0 means none.
        shortest: seconds; no task ends sooner.
        longest: seconds; no task takes longer.
        outcomes: the weight of each final status.
        fault_rate: the share of status answers that are faults, 0.0 to 1.0.
        faults: which faults those are, as names or as Fault values.
    """

    median: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))
    sigma: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    shortest: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    longest: float = attrs.field(default=math.inf, validator=attrs.validators.gt(0))
    outcomes: Mapping[TaskStatus, float] = attrs.field(
        factory=lambda: {TaskStatus.SUCCESS: 1.0},
        converter=_as_outcomes,
        validator=_check_outcomes,
        hash=False,
    )
    fault_rate: float = attrs.field(
        default=0.0,
        validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1)),
    )
    faults: tuple[Fault, ...] = attrs.field(default=(), converter=_as_faults)

    @classmethod
    def of(cls, scenario: Scenario | str | None) -> Scenario:
        """Return a scenario, the one of that name, or the steady one for None.

        Raises:
            ValueError: no scenario is called so.
        """
        if isinstance(scenario, Scenario):
            return scenario
        name = "steady" if scenario is None else scenario
        if name not in SCENARIOS:
            message = f"No scenario is called {name!r}; known: {', '.join(SCENARIOS)}."
            raise ValueError(message)
        return SCENARIOS[name]

    def draw_fate(self, random: Random) -> Fate:
        """Return how long one task takes (seconds) and how it ends."""
        duration = self.median * math.exp(random.gauss(0.0, self.sigma))
        duration = min(max(duration, self.shortest), self.longest)
        (status,) = random.choices(
            list(self.outcomes), weights=list(self.outcomes.values())
        )
        reason, message = random.choice(_REASONS.get(status, _NO_REASON))
        return Fate(duration, status, reason, message)

    def draw_fault(self, random: Random) -> Fault | None:
        """Return the fault that a status answer is to be, or mostly None."""
        if not self.faults or random.random() >= self.fault_rate:
            return None
        return random.choice(self.faults)


_NO_REASON: tuple[tuple[str | None, str | None], ...] = ((None, None),)
_REASONS: Mapping[TaskStatus, tuple[tuple[str | None, str | None], ...]] = {
    TaskStatus.ERROR: (
        ("PROCESSING_ERROR", "Something went wrong while processing."),
        ("INTERNAL_ERROR", "An internal error occurred."),
        ("HARMFUL_CONTENT_DETECTED", "The text was refused by the content filter."),
        ("INVALID_SOURCE_DATA", "The voice description is too short."),
    ),
    TaskStatus.TIMEOUT: ((None, "The task took too long."),),
    TaskStatus.PAYMENT_REQUIRED: (("PAYMENT_REQUIRED", "Not enough credits."),),
}

_LIFELIKE = Scenario(
    median=12.0,
    sigma=0.6,
    shortest=2.0,
    longest=60.0,
    outcomes={
        TaskStatus.SUCCESS: 90,
        TaskStatus.ERROR: 6,
        TaskStatus.TIMEOUT: 2,
        TaskStatus.PAYMENT_REQUIRED: 2,
    },
)
SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "steady": Scenario(sigma=0.05, shortest=1.5, longest=2.5),
        "lifelike": _LIFELIKE,
        "stormy": attrs.evolve(
            _LIFELIKE,
            fault_rate=0.25,
            faults=(
                *("reset", "reset_mid_body", "truncate_content_length", "garbage"),
                *("500", "502_html", "503", "503_retry_after", "504_html", "429"),
                *("408", "html_200", "204", "bad_json", "unknown_status", "slow"),
            ),
        ),
        "demo": Scenario(
            median=5.0,
            sigma=0.45,
            shortest=1.5,
            longest=11.0,
            outcomes={
                TaskStatus.SUCCESS: 80,
                TaskStatus.ERROR: 10,
                TaskStatus.TIMEOUT: 5,
                TaskStatus.PAYMENT_REQUIRED: 5,
            },
            fault_rate=0.08,
            faults=("reset", "502_html", "503", "429_no_header", "html_200", "500"),
        ),
    }
)
