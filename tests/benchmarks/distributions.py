"""Durations of tasks that the lateness of schedules is measured on.

The constants of the adaptive schedule were chosen on those marked as tuned on;
the others are held out, and tell whether that choice is good elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log
from statistics import NormalDist

import attrs


Quantile = Callable[[float], float]

#: How finely a distribution is known here: so many equally likely durations.
POINTS = 1000


@attrs.frozen
class Distribution:
    """A distribution of durations in seconds, as sorted equally likely ones."""

    name: str
    durations: Sequence[float]
    held_out: bool = True
    modes: int = 1


def _spread(quantile: Quantile, points: int = POINTS) -> list[float]:
    return [quantile((index + 0.5) / points) for index in range(points)]


def _mixed(*parts: tuple[float, Quantile]) -> list[float]:
    return sorted(
        duration
        for share, quantile in parts
        for duration in _spread(quantile, round(share * POINTS))
    )


def lognormal(median: float, sigma: float) -> Quantile:
    """Return the quantiles of a lognormal distribution."""
    normal = NormalDist(log(median), sigma)
    return lambda share: exp(normal.inv_cdf(share))


def _weibull(median: float, shape: float) -> Quantile:
    return lambda share: median * (-log(1.0 - share) / log(2.0)) ** (1.0 / shape)


def _gamma_of_two(median: float) -> Quantile:
    def standard(share: float) -> float:
        low, high = 0.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2.0
            over = 1.0 - exp(-middle) * (1.0 + middle) >= share
            low, high = (low, middle) if over else (middle, high)
        return high

    return lambda share: median * standard(share) / standard(0.5)


def _pareto(shortest: float, shape: float) -> Quantile:
    return lambda share: shortest * (1.0 - share) ** (-1.0 / shape)


def _retried(median: float, *shares: float) -> list[float]:
    return _mixed(
        *(
            (share, lognormal(median * tries, 0.03))
            for tries, share in enumerate(shares, 1)
        )
    )


DISTRIBUTIONS = (
    Distribution("lognormal .25", _spread(lognormal(60, 0.25)), held_out=False),
    Distribution("lognormal .8", _spread(lognormal(60, 0.8)), held_out=False),
    Distribution("exponential", _spread(_weibull(60, 1.0)), held_out=False),
    Distribution(
        "bimodal 8 / 180",
        _mixed((0.5, lognormal(8, 0.2)), (0.5, lognormal(180, 0.2))),
        held_out=False,
        modes=2,
    ),
    Distribution(
        "retries 40 / 80 / 120", _retried(40, 0.6, 0.25, 0.15), held_out=False, modes=3
    ),
    Distribution(
        "30% cached at 1 s",
        _mixed((0.3, lognormal(1, 0.1)), (0.7, lognormal(60, 0.4))),
        held_out=False,
        modes=2,
    ),
    Distribution("lognormal .1", _spread(lognormal(60, 0.1))),
    Distribution("lognormal .4", _spread(lognormal(60, 0.4))),
    Distribution("lognormal 1.2", _spread(lognormal(60, 1.2))),
    Distribution("gamma 2", _spread(_gamma_of_two(60))),
    Distribution("Weibull 1.5", _spread(_weibull(60, 1.5))),
    Distribution("Pareto 1.5", _spread(_pareto(38, 1.5))),
    Distribution("uniform 30 to 90", _spread(lambda share: 30 + 60 * share)),
    Distribution("lognormal .4 at 6 s", _spread(lognormal(6, 0.4))),
    Distribution("lognormal .4 at 600 s", _spread(lognormal(600, 0.4))),
    Distribution(
        "trimodal 25 / 65 / 200",
        _mixed(
            (0.5, lognormal(25, 0.05)),
            (0.3, lognormal(65, 0.05)),
            (0.2, lognormal(200, 0.05)),
        ),
        modes=3,
    ),
    Distribution(
        "15% cached at 2 s",
        _mixed((0.15, lognormal(2, 0.1)), (0.85, lognormal(30, 0.25))),
        modes=2,
    ),
)
