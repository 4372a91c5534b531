"""Reads what a database has recorded, under a lease: others get it if we die.

What is acknowledged is told to the database a moment later, all of it together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from camb_async.errors import StoreError
from camb_async.models import Transition

from ._delivery import READ_AHEAD, Delivery
from ._protocol import UnknownOwnerError
from ._records import transition
from ._statements import ACK, BEAT, DELIVER, END_TURN, GIVEN, JOIN, RELEASE


if TYPE_CHECKING:
    from ._server import Server


logger = logging.getLogger("camb_async")

#: Seconds in which acknowledgements gather, and after which a failed one is repeated.
_GATHER: Final = 0.1
_REPEAT: Final = 1.0

Key = tuple[str, int]


class LeasedReader:
    """The readers of one store, which the database knows by one name."""

    def __init__(self, server: Server, name: str, lease: float) -> None:
        self.delivery: Final = Delivery(self._read_on)
        self._server = server
        self._name = name
        self._lease = lease
        self._owner: str | None = None
        self._turn = 0
        self._answer_lost = False
        self._acknowledged: dict[Key, None] = {}
        self._to_tell = asyncio.Event()

    def ack(self, keys: Iterable[Key]) -> None:
        """Have the database forget transitions."""
        self._acknowledged.update(dict.fromkeys(keys))
        self._to_tell.set()

    async def tell(self) -> None:
        """Tell the database of what was acknowledged, until cancelled."""
        failing = False
        while True:
            await self._to_tell.wait()
            await asyncio.sleep(_GATHER)
            self._to_tell.clear()
            try:
                await self._flush()
            except StoreError as error:
                if not failing:
                    logger.warning("What was read cannot be acknowledged: %s", error)
                failing = True
                self._to_tell.set()
                await asyncio.sleep(_REPEAT)
            else:
                failing = False

    async def live(self) -> None:
        """Give signs of life, until cancelled."""
        third = self._lease / 3
        pause = third
        while True:
            await asyncio.sleep(pause)
            try:
                await self._beat()
                pause = third
            except StoreError:
                pause = min(third, _REPEAT)

    async def leave(self) -> None:
        """Give back what was not acknowledged.

        Raises:
            StoreError: the database cannot be told, and the lease has to end.
        """
        await self.delivery.end()
        await self._flush()
        if self._owner is not None:
            await self._server.fetch(RELEASE, self._owner)

    async def _beat(self) -> None:
        owner = self._owner
        if owner is not None:
            [row] = await self._server.fetch(BEAT, owner, [], self._lease)
            if not row["alive"] and owner == self._owner:
                self._begin_anew()

    async def _flush(self) -> None:
        while keys := list(self._acknowledged):
            watches, numbers = zip(*keys, strict=True)
            await self._server.fetch(ACK, watches, numbers)
            self.delivery.done(keys)
            for key in keys:
                del self._acknowledged[key]

    async def _read_on(self) -> list[Transition]:
        owner = self._owner or await self._join()
        if self._answer_lost:
            await self._server.fetch(END_TURN, owner, self._turn)
            rows = await self._server.fetch(GIVEN, owner)
            given = [transition(row) for row in rows]
            self._answer_lost = False
            if new := [each for each in given if not self._has(each.key)]:
                return new
        self._answer_lost = True
        self._turn += 1
        try:
            rows = await self._server.fetch(DELIVER, owner, READ_AHEAD, self._turn)
        except UnknownOwnerError:
            self._begin_anew()
            return await self._read_on()
        read = [transition(row) for row in rows]
        self._answer_lost = False
        return read

    def _has(self, key: Key | None) -> bool:
        return key in self.delivery or key in self._acknowledged

    async def _join(self) -> str:
        owner = uuid4().hex
        await self._server.fetch(JOIN, owner, self._name, self._lease)
        self._owner = owner
        return owner

    def _begin_anew(self) -> None:
        """Give up the name: what was read has gone to others."""
        self._owner = None
        self._answer_lost = False
        self.delivery.forget_all()
