"""How many requests may be made again: a small share of those made anyway.

When a service is in trouble, clients that insist are part of the trouble: five
tries for each request are five times the load, just when it can bear the least.
So a session has one budget for all that it sends again sooner than it would have
asked anyway. It grows with the requests and, for whoever sends few, with time.
"""

from __future__ import annotations

from typing import Final

import attrs


#: Tokens; what a session may send again at once, before any trouble is known.
RESERVE: Final = 20.0
#: Tokens that each request earns: one in twenty may be made again.
EARNED: Final = 0.05
#: Tokens a second, so that a session that sends little can still insist.
TRICKLE: Final = 0.05


@attrs.define(eq=False)
class RetryBudget:
    """The tokens of one session. ``now`` is a monotonic reading in seconds."""

    _tokens: float = attrs.field(default=RESERVE, init=False)
    _counted_at: float = attrs.field(default=0.0, init=False)

    def earn(self) -> None:
        """Count a request that is made for its own sake."""
        self._tokens = min(RESERVE, self._tokens + EARNED)

    def spend(self, now: float) -> bool:
        """Return whether one more request may be made again, and count it if so."""
        elapsed = max(0.0, now - self._counted_at)
        self._counted_at = max(now, self._counted_at)
        self._tokens = min(RESERVE, self._tokens + elapsed * TRICKLE)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
