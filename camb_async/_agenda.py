"""What is due when: items in buckets of due time, with no event loop.

A wake-up of the event loop costs more than most polls, so due times are rounded
up to a grid and everything in one bucket comes out together. Putting in and
taking out are constant time; only opening a bucket costs a heap operation.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Generic, TypeVar

import attrs


ItemT = TypeVar("ItemT", bound=Hashable)

#: Seconds; the price is that an item may come out this much after it was due.
BUCKET_WIDTH = 0.02

_STALE_ALLOWED = 64


@attrs.define(eq=False)
class Agenda(Generic[ItemT]):
    """A calendar of items: ``put`` returns the slot, and ``remove`` takes it."""

    width: float = BUCKET_WIDTH
    _buckets: dict[int, dict[ItemT, None]] = attrs.field(
        factory=dict[int, dict[ItemT, None]], init=False
    )
    _order: list[int] = attrs.field(factory=list[int], init=False)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def put(self, item: ItemT, due: float) -> int:
        """Enter ``item``, to come out at ``due`` or less than a width later."""
        slot = self.slot_of(due)
        bucket = self._buckets.get(slot)
        if bucket is None:
            self._buckets[slot] = {item: None}
            heappush(self._order, slot)
        else:
            bucket[item] = None
        return slot

    def slot_of(self, due: float) -> int:
        """Return the slot of what comes out at ``due``."""
        slot = ceil(due / self.width)
        return slot + 1 if slot * self.width < due else slot  # it was rounded down

    def remove(self, item: ItemT, slot: int) -> None:
        """Take ``item`` out of the slot in which ``put`` has entered it."""
        bucket = self._buckets[slot]
        del bucket[item]
        if not bucket:
            del self._buckets[slot]
            self._forget_stale_slots()

    def time_of(self, slot: int) -> float:
        """Return when the items of this slot come out."""
        return slot * self.width

    def next_due(self) -> float | None:
        """Return when the next item comes out; None when there is none."""
        while self._order and self._order[0] not in self._buckets:
            heappop(self._order)
        return self._order[0] * self.width if self._order else None

    def pop_due(self, now: float) -> list[ItemT]:
        """Take out everything whose time has come, in order of due time."""
        due: list[ItemT] = []
        while self._order and self._order[0] * self.width <= now:
            due.extend(self._buckets.pop(heappop(self._order), ()))
        return due

    def clear(self) -> None:
        """Take out everything."""
        self._buckets.clear()
        self._order.clear()

    def _forget_stale_slots(self) -> None:
        # Slots emptied by remove() stay in the heap until their time comes; far
        # ones would add up over months, so they are swept when they dominate.
        if len(self._order) > 2 * len(self._buckets) + _STALE_ALLOWED:
            self._order = list(self._buckets)
            heapify(self._order)
