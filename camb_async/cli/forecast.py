"""When a task is likely to be done: a range, and a bar that is as vague as it is.

Nothing counts down. A range has round ends, the lower rounded down and the upper
up, so that it changes when there is news rather than with each second.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import ceil

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from camb_async import Eta


#: The longest range, such as "90 s-10 min", and with a bar before it.
RANGE_WIDTH = 11
BAR_WIDTH = 6
FORECAST_WIDTH = BAR_WIDTH + 1 + RANGE_WIDTH

_UNITS = (
    (1, "s", (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90)),
    (60, "min", (2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90)),
    (3600, "h", (2, 3, 5, 7, 10, 15, 20)),
)
_STEPS = [
    (number * seconds, number, unit)
    for seconds, unit, numbers in _UNITS
    for number in numbers
]
_SECONDS = [seconds for seconds, _, _ in _STEPS]

# Done for certain, perhaps, and not: each to be told apart without colours.
_SHADES, _ASCII_SHADES = "━╍┈", "=-."
_STYLES = ("cyan", "cyan", "dim")
_SHORTEST = 1e-3


def range_of(eta: Eta) -> str:
    """Return between how much and how much is left in eight of ten cases."""
    _, low, unit = _STEPS[bisect_right(_SECONDS, eta.low) - 1]
    after = bisect_left(_SECONDS, eta.high)
    if after == len(_STEPS):
        return f"over {low} {unit}"
    _, high, last_unit = _STEPS[after]
    first = f"{low}" if unit == last_unit else f"{low} {unit}"
    return f"{first}-{high} {last_unit}"


@attrs.frozen
class Forecast:
    """A range, with a bar before it where there is room for one.

    The bar is how much of the whole time is over: at least the solid part, and in
    one of ten cases more than the part that follows it.
    """

    elapsed: float
    eta: Eta

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        text = Text(no_wrap=True, overflow="ellipsis")
        if options.max_width >= FORECAST_WIDTH:
            shades = _ASCII_SHADES if options.ascii_only else _SHADES
            for shade, cells, style in zip(shades, self._cells(), _STYLES, strict=True):
                text.append(shade * cells, style)
            text.append(" ")
        yield text.append(range_of(self.eta))

    def _cells(self) -> tuple[int, int, int]:
        elapsed = max(self.elapsed, _SHORTEST)
        sure = int(BAR_WIDTH * elapsed / (elapsed + self.eta.high))
        at_most = ceil(BAR_WIDTH * elapsed / (elapsed + self.eta.low))
        return sure, at_most - sure, BAR_WIDTH - at_most
