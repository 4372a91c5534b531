"""Who goes next where more wait than may leave: the most valuable, and nobody never.

To find the very best of many at each turn would cost more than it gains: values
change all the time, so nothing could be kept in order. The best of a small sample
is good enough. Every other turn is that of whoever has waited longest: nobody is
passed over for ever, and the lateness of the unlucky falls by more than the
average rises (``python -m tests.benchmarks.budget`` measures it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Final, Generic, TypeVar

import attrs


ItemT = TypeVar("ItemT", bound=Hashable)

#: Says what it is worth, at a clock reading in seconds, that a request leaves now.
Urgency = Callable[[float], float]
#: Says the same of an item.
Worth = Callable[[ItemT, float], float]
#: Whoever makes requests that can wait sets this; without it, a request is one that
#: somebody waits for.
URGENCY: Final[ContextVar[Urgency | None]] = ContextVar("urgency", default=None)

#: Seconds; while nobody waits longer, the order is not worth thinking about.
PATIENCE = 0.1
_SAMPLE = 16
_OLDEST_EVERY = 2
# Those whose turn has come stay in the order of age for a while.
_GONE_ALLOWED = 64


@attrs.define(eq=False)
class _Waiting(Generic[ItemT]):
    item: ItemT
    worth: Worth[ItemT]
    since: float
    place: int  # in the list; -1 when its turn has come


@attrs.define(eq=False)
class Ranking(Generic[ItemT]):
    """A queue of different items, in which worth decides once some have to wait.

    ``now`` is a monotonic reading in seconds, ``unit`` a random number in [0, 1).
    """

    _by_item: dict[ItemT, _Waiting[ItemT]] = attrs.field(
        factory=dict[ItemT, _Waiting[ItemT]], init=False
    )
    _by_age: deque[_Waiting[ItemT]] = attrs.field(
        factory=deque[_Waiting[ItemT]], init=False
    )
    _in_places: list[_Waiting[ItemT]] = attrs.field(
        factory=list[_Waiting[ItemT]], init=False
    )
    _turns: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._in_places)

    def put(self, item: ItemT, worth: Worth[ItemT], now: float) -> None:
        """Let ``item`` wait for its turn."""
        waiting = _Waiting(item, worth, now, len(self._in_places))
        self._by_item[item] = waiting
        self._by_age.append(waiting)
        self._in_places.append(waiting)

    def discard(self, item: ItemT) -> None:
        """Let ``item`` wait no longer, if it does."""
        waiting = self._by_item.get(item)
        if waiting is not None:
            self._remove(waiting)

    def take(self, now: float, unit: float) -> ItemT:
        """Return whose turn it is; there must be somebody."""
        self._turns += 1
        while self._by_age[0].place < 0:
            self._by_age.popleft()
        chosen = self._by_age[0]
        if now - chosen.since > PATIENCE and self._turns % _OLDEST_EVERY:
            chosen = self._best(now, unit)
        self._remove(chosen)
        return chosen.item

    def _best(self, now: float, unit: float) -> _Waiting[ItemT]:
        sample, count = self._in_places, len(self._in_places)
        if count > _SAMPLE:
            first, step = int(unit * count), count // _SAMPLE
            sample = [sample[(first + n * step) % count] for n in range(_SAMPLE)]
        return max(sample, key=lambda w: (w.worth(w.item, now), -w.since))

    def _remove(self, waiting: _Waiting[ItemT]) -> None:
        del self._by_item[waiting.item]
        last = self._in_places.pop()
        if last is not waiting:
            self._in_places[waiting.place] = last
            last.place = waiting.place
        waiting.place = -1
        if len(self._by_age) > 2 * len(self._in_places) + _GONE_ALLOWED:
            self._by_age = deque(w for w in self._by_age if w.place >= 0)
