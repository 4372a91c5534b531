"""When the next request may leave: decisions only, the clock is an argument.

Three things hold a request back: the number under way, the rate, and a server
that asked for less. The rate is an allowance that grows with time and is capped
at a tenth of a second's worth, so neither an idle time nor a process that was
held up is paid back in a burst. A 429 or 503 lowers the rate of the whole
session by a tenth, a good answer raises it again by a fiftieth, so it settles
where about one answer in six is refused and recovers as answers come in; where
many in a row are good the trouble is over, and it recovers ever faster. A
Retry-After stops everything until then.
"""

from __future__ import annotations

import attrs

from .policies import Limits


#: Seconds of rate that may be saved up.
SAVED_UP = 0.1
#: Seconds; a server may not silence the whole session for longer than this.
PAUSE_MAX = 60.0
#: Requests a second that no server minds.
TRICKLE = 10.0

_SLOWER = 0.9
_FASTER = 0.02
# Good answers in a row that tell an end of trouble from a gap in it, and by how
# much more each one after them raises the rate.
_IN_A_ROW = 8
_FASTER_STILL = 0.01
_SLOWEST = 1 / 16
# An allowance of one, but for the rounding of the delays that led to it.
_ONE = 1.0 - 1e-6


@attrs.define(eq=False)
class Pacer:
    """The budget of one session. ``now`` is a monotonic reading in seconds."""

    limits: Limits
    in_flight: int = attrs.field(default=0, init=False)
    _share: float = attrs.field(default=1.0, init=False)
    _in_a_row: int = attrs.field(default=0, init=False)
    _paused_until: float = attrs.field(default=0.0, init=False)
    _allowance: float = attrs.field(default=1.0, init=False)
    _counted_at: float = attrs.field(default=0.0, init=False)
    _full_rate: float = attrs.field(default=TRICKLE, init=False)
    _observed: float = attrs.field(default=0.0, init=False)
    _observed_at: float = attrs.field(default=0.0, init=False)

    @property
    def rate(self) -> float | None:
        """Requests a second that may leave at present; None for no limit."""
        if self._share >= 1.0:
            return self.limits.max_rate
        return self._share * self._full_rate

    def delay(self, now: float, wanted: int = 1) -> float | None:
        """Return the seconds until a request may leave; None: a slot must come free.

        With several ``wanted``, the delay is long enough for some of them to
        leave together, because waking up costs more than sending.
        """
        if self.in_flight >= self.limits.max_in_flight:
            return None
        if now < self._paused_until:
            return self._paused_until - now
        rate = self.rate
        if rate is None:
            return 0.0
        self._accrue(rate, now)
        if self._allowance >= _ONE:
            return 0.0
        together = max(1.0, min(float(wanted), rate * SAVED_UP / 2))
        return (together - self._allowance) / rate

    def leave(self, now: float) -> None:
        """Count a request that leaves now; ``delay`` must have said 0.0."""
        self.in_flight += 1
        if self.rate is not None:
            self._allowance -= 1.0
        if self.limits.max_rate is None:
            self._observe(now)

    def left(self, now: float) -> None:
        """Take note that a request which might leave earlier leaves only now.

        The time in between, when the process was held up, is not saved up.
        """
        self._counted_at = max(self._counted_at, now)

    def take_back(self) -> None:
        """Undo ``leave`` for a request that was not sent after all."""
        self.in_flight -= 1
        self._allowance += 1.0

    def back(self) -> None:
        """Count a request that is done, whatever came of it."""
        self.in_flight -= 1

    def refused(self, now: float, retry_after: float | None) -> None:
        """Slow down: the server answered 429 or 503."""
        if self._share >= 1.0:
            # Without a configured rate, slowing down starts from the rate that was
            # being sent; a trickle needs no slowing down.
            self._full_rate = self.limits.max_rate or max(TRICKLE, self._observed)
        self._share = max(_SLOWEST, self._share * _SLOWER)
        self._in_a_row = 0
        if retry_after:
            until = now + min(retry_after, PAUSE_MAX)
            self._paused_until = max(self._paused_until, until)
            self._allowance = min(self._allowance, 0.0)
            self._counted_at = max(self._counted_at, self._paused_until)

    def answered(self) -> None:
        """Recover a little: the server answered something else."""
        if self._share < 1.0:
            self._in_a_row += 1
            faster = _FASTER + _FASTER_STILL * max(0, self._in_a_row - _IN_A_ROW)
            self._share = min(1.0, self._share * (1.0 + faster))

    def _accrue(self, rate: float, now: float) -> None:
        elapsed = max(0.0, now - self._counted_at)
        self._counted_at = max(now, self._counted_at)
        cap = max(1.0, rate * SAVED_UP)
        self._allowance = min(cap, self._allowance + elapsed * rate)

    def _observe(self, now: float) -> None:
        # An average of the sent rate whose memory is about a second: each request
        # adds one, and what was counted fades with time.
        elapsed = now - self._observed_at
        self._observed_at = now
        self._observed = self._observed * max(0.0, 1.0 - elapsed) + 1.0
