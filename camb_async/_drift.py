"""Notice when tasks no longer take as long as was learnt.

With each poll it is reckoned how likely the task was to be seen done, and whether
it was. Ends seen less ends expected stay near zero while what was learnt is true,
in whatever order tasks come and however many run at once (the one-sample
log-rank test); a service that became faster or slower drives them apart.
"""

from __future__ import annotations

from math import sqrt

import attrs

from ._durations import Durations


# A change is to show over some two dozen tasks, by so many standard deviations.
_WINDOW = 24.0
_ALARM = 4.2
# What was learnt is an estimate, and has a relative error of its own.
_ERROR = 0.14


@attrs.define(eq=False)
class Drift:
    """Ends seen less ends expected, their variance, and the ends expected."""

    _surprise: float = 0.0
    _variance: float = 0.0
    _expected: float = 0.0

    def reckon(
        self, durations: Durations, asked: float, age: float, *, ended: bool
    ) -> None:
        """Count a task pending at age ``asked``, and ended by ``age`` or not."""
        before, _ = durations.at(asked)
        after, _ = durations.at(age)
        if before >= 1.0:
            return
        expected = (after - before) / (1.0 - before)
        variance = expected * (1.0 - expected)
        kept = 1.0 - variance / _WINDOW
        self._surprise = self._surprise * kept + ended - expected
        self._variance = self._variance * kept**2 + variance
        self._expected = self._expected * kept + expected

    def is_certain(self) -> bool:
        """Return whether chance cannot explain what was seen."""
        error = _ERROR * self._expected
        likely = sqrt(1.0 + self._variance + error * error)
        return abs(self._surprise) > _ALARM * likely
