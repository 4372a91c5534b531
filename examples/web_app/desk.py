"""Where orders come in and news goes out: one store, one table, one board, one bell.

The tasks are watched by ``work`` over a store, together with all other processes that
share it. Each transition comes to one reader of one of them, with the voice's id as
its context. That reader writes into the application's table how the voice stands, and
each process has a look at the table now and then, for the pages that it serves.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import anyio

from camb_async import (
    AdaptiveSchedule,
    CambError,
    CambSession,
    StoreError,
    TaskStore,
    Transition,
    work,
)

from .board import Board
from .orders import Orders, OrdersError
from .outcomes import Left, left_of
from .previews import Previews
from .problems import LEFT_UNWRITTEN, Problem, problem_of
from .voice import Voice


logger = logging.getLogger(__name__)

STREAMS_PER_VISITOR = 12
STREAMS_OVERALL = 500

_LOOK_EVERY = 0.5  # seconds, for what other processes wrote into the table
_PAUSE = 5.0  # seconds, before what failed is tried again
_READERS = 4  # so that one whose previews take long holds up no other voice


class Bell:
    """Wakes those who wait for a visitor's news. It says that there are some."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = {}

    def has_room(self, visitor: str) -> bool:
        """Whether one more listener is welcome."""
        overall = sum(map(len, self._listeners.values()))
        own = len(self._listeners.get(visitor, ()))
        return own < STREAMS_PER_VISITOR and overall < STREAMS_OVERALL

    def ring(self, visitor: str) -> None:
        """Wake all who listen for this visitor's news."""
        for listener in self._listeners.get(visitor, ()):
            listener.set()

    @contextmanager
    def listen(self, visitor: str, listener: asyncio.Event) -> Generator[None]:
        """Have the event set whenever there may be news, while in the block."""
        listeners = self._listeners.setdefault(visitor, set())
        listeners.add(listener)
        try:
            yield
        finally:
            listeners.discard(listener)
            if not listeners and self._listeners.get(visitor) is listeners:
                del self._listeners[visitor]


class Desk:
    """Takes orders, and moves what becomes of them to the table and the board."""

    def __init__(
        self,
        camb: CambSession,
        store: TaskStore,
        orders: Orders,
        previews: Previews,
    ) -> None:
        self.board = Board(life=secrets.token_hex(4))
        self.bell = Bell()
        self.previews = previews
        self._camb = camb
        self._store = store
        self._orders = orders
        self._ordering: set[str] = set()

    async def open(self) -> None:
        """Show what was ordered before, and have it watched.

        A process that was killed may have written a voice down and no more. To add
        what is watched already changes nothing.
        """
        await self._look()
        for voice in self.board.all_running():
            await self._watch(voice)

    async def run(self) -> None:
        """Watch, read and look until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._insist, lambda: work(self._camb, self._store))
            group.start_soon(self._insist, self._look_now_and_then)
            for _ in range(_READERS):
                group.start_soon(self._insist, self._read)

    async def order(
        self, visitor: str, *, description: str, text: str
    ) -> Voice | Problem:
        """Order a voice and have its task watched; or say why that did not work."""
        if visitor in self._ordering:
            return _ONE_AT_A_TIME
        if not self.board.has_room(visitor):
            return _BOARD_FULL
        self._ordering.add(visitor)
        try:
            task = await self._camb.create_text_to_voice(
                text=text, voice_description=description
            )
            voice = Voice(
                voice_id=secrets.token_urlsafe(9),
                visitor=visitor,
                task=task,
                description=description,
                text=text,
            )
            await self._write_down(voice)
        except (OrdersError, StoreError) as error:
            logger.error("A voice was ordered and not written down: %s", error)  # noqa: TRY400
            return LEFT_UNWRITTEN
        except CambError as error:
            logger.warning("A voice could not be ordered: %s", error)
            return problem_of(error)
        except asyncio.CancelledError:
            logger.warning("Stopped while a voice was ordered: its task may exist.")
            raise
        finally:
            self._ordering.discard(visitor)
        return voice

    def likely(self, visitor: str) -> dict[str, Left]:
        """Return what is likely left of a visitor's voices, by their ids."""
        schedule, now = self._camb.schedule, time.time()
        if not isinstance(schedule, AdaptiveSchedule):
            return {}
        etas = {
            voice.voice_id: schedule.eta(voice.task, now - voice.began)
            for voice in self.board.running(visitor)
        }
        return {
            voice_id: left_of(eta) for voice_id, eta in etas.items() if eta is not None
        }

    async def watch_again(self, voice: Voice) -> None:
        """Watch a voice that ended without the service having the last word."""
        await self._change(voice.voice_id, Voice.resumed)
        await self._watch(voice)

    async def find_previews(self, voice: Voice) -> None:
        """Find out how many previews a finished voice has."""
        if voice.run_id is None:
            return
        count = None
        try:
            count = len(await self.previews.links(voice.run_id))
        except (CambError, ValueError) as error:  # a run id below 0 is a ValueError
            logger.warning("No previews of %s: %s", voice.task, error)
        await self._change(voice.voice_id, lambda voice: voice.with_previews(count))

    async def _write_down(self, voice: Voice) -> None:
        for voice_id in self.board.surplus(voice.visitor):
            await self._orders.remove(voice_id)
            self._take_off(voice_id)
        await self._orders.add(voice)
        self._show(voice)
        await self._watch(voice)

    async def _watch(self, voice: Voice) -> None:
        await self._store.add(voice.task, context=voice.voice_id)

    async def _read(self) -> None:
        async for transition in self._store.transitions():
            logger.info("%s is %s", transition.task, transition.status)
            await self._take(transition)

    async def _take(self, transition: Transition) -> None:
        """Take note of a transition; to do it once more does no harm."""
        voice = await self._change(
            transition.context, lambda voice: voice.after(transition)
        )
        if voice is not None and voice.lacks_previews:
            await self.find_previews(voice)

    async def _change(
        self, voice_id: str, how: Callable[[Voice], Voice | None]
    ) -> Voice | None:
        voice = await self._orders.change(voice_id, how)
        if voice is not None:
            self._show(voice)
        return voice

    async def _look_now_and_then(self) -> None:
        while True:
            await anyio.sleep(_LOOK_EVERY)
            await self._look()

    async def _look(self) -> None:
        """Bring the board up to what the table says."""
        shown = self.board.versions()
        written = await self._orders.versions()
        for voice_id in shown.keys() - written.keys():
            self._take_off(voice_id)
        for voice_id, version in written.items():
            if shown.get(voice_id, 0) < version:
                voice = await self._orders.get(voice_id)
                if voice is not None:
                    self._show(voice)

    def _show(self, voice: Voice) -> None:
        if self.board.put(voice):
            self.bell.ring(voice.visitor)

    def _take_off(self, voice_id: str) -> None:
        whose = self.board.remove(voice_id)
        if whose is not None:
            self.bell.ring(whose)

    async def _insist(self, job: Callable[[], Awaitable[None]]) -> None:
        """Do a job again whenever it fails: what it left undone comes again."""
        while True:
            try:
                await job()
            except (CambError, OrdersError) as error:
                logger.error("It is tried again in %.0f s: %s", _PAUSE, error)  # noqa: TRY400
            await anyio.sleep(_PAUSE)


_ONE_AT_A_TIME = Problem(
    status=409,
    title="One order is under way already",
    advice="Wait for its answer, then send the next one.",
)
_BOARD_FULL = Problem(
    status=429,
    title="Enough for now",
    advice="As many voices are in the making as this page can hold. Wait for one.",
)
