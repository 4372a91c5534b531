"""Faults that were ordered and have not happened yet."""

from __future__ import annotations

import attrs

from .faults import Fault
from .routes import PREFIX, Route


@attrs.frozen
class Filter:
    """Which requests a fault is for; None: any."""

    task_id: str | None = None
    path: str | None = None
    method: str | None = None

    def fits(self, method: str, path: str, route: Route) -> bool:
        """Return whether a request is one of them."""
        if self.method not in (None, method):
            return False
        if self.task_id is not None and (
            route.action != "status" or route.argument != self.task_id
        ):
            return False
        return self.path is None or path.startswith((self.path, PREFIX + self.path))


@attrs.define
class _Order:
    fault: Fault
    times: int | None
    filter: Filter


@attrs.define
class FaultPlan:
    """Ordered faults, the oldest first; each happens as often as it was ordered."""

    _orders: list[_Order] = attrs.field(factory=list[_Order])

    def order(self, fault: Fault, times: int | None, only: Filter) -> None:
        """Have the next requests that fit answered by ``fault``.

        Raises:
            ValueError: ``times`` is neither None nor at least 1.
        """
        if times is not None and times < 1:
            message = f"times must be at least 1, or None for ever, not {times!r}"
            raise ValueError(message)
        self._orders.append(_Order(fault, times, only))

    def clear(self) -> None:
        """Forget all orders."""
        self._orders.clear()

    def take(self, method: str, path: str, route: Route) -> Fault | None:
        """Return the fault that is due for a request, if any, and count it."""
        for order in self._orders:
            if order.filter.fits(method, path, route):
                if order.times is not None:
                    order.times -= 1
                    if not order.times:
                        self._orders.remove(order)
                return order.fault
        return None
