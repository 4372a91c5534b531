"""Where orders come in and news goes out: one watcher, one board, one bell.

The watcher's transitions reach the board in ``run`` and nowhere else, with the
voice's id as their context. An application that must survive a restart keeps its
watches in a store instead, and changes ``run`` and ``order`` only.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from camb_async import CambError, CambSession, TaskWatcher

from .board import Board, Voice
from .outcomes import Left, left_of
from .previews import Previews
from .problems import Problem, problem_of


logger = logging.getLogger(__name__)

STREAMS_PER_VISITOR = 12
STREAMS_OVERALL = 500


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
    """Takes orders, and moves what becomes of them to the board."""

    def __init__(
        self, camb: CambSession, watcher: TaskWatcher, previews: Previews
    ) -> None:
        self.board = Board(life=secrets.token_hex(4))
        self.bell = Bell()
        self.previews = previews
        self._camb = camb
        self._watcher = watcher
        self._ordering: set[str] = set()

    async def run(self) -> None:
        """Move transitions to the board until cancelled."""
        async with anyio.create_task_group() as group:
            async for transition in self._watcher:
                logger.info("%s is %s", transition.task, transition.status)
                voice = self.board.apply(transition, _now())
                if voice is None:
                    continue
                self.bell.ring(voice.visitor)
                if transition.succeeded:
                    group.start_soon(self.find_previews, voice)

    async def order(
        self, visitor: str, *, description: str, text: str
    ) -> Voice | Problem:
        """Order a voice and watch its task; or say why that did not work."""
        if visitor in self._ordering:
            return _ONE_AT_A_TIME
        if not self.board.has_room(visitor):
            return _BOARD_FULL
        self._ordering.add(visitor)
        try:
            task = await self._camb.create_text_to_voice(
                text=text, voice_description=description
            )
        except CambError as error:
            logger.warning("A voice could not be ordered: %s", error)
            return problem_of(error)
        except asyncio.CancelledError:
            logger.warning("Stopped while a voice was ordered: its task may exist.")
            raise
        finally:
            self._ordering.discard(visitor)
        voice, touched = self.board.add(
            visitor,
            secrets.token_urlsafe(9),
            task,
            description=description,
            text=text,
            now=_now(),
        )
        self._watcher.add(task, context=voice.voice_id)
        for whose in touched:
            self.bell.ring(whose)
        return voice

    def likely(self, visitor: str) -> dict[str, Left]:
        """Return what is likely left of a visitor's voices, by their ids."""
        etas = {
            voice.voice_id: self._watcher.eta(voice.task)
            for voice in self.board.running(visitor)
        }
        return {
            voice_id: left_of(eta) for voice_id, eta in etas.items() if eta is not None
        }

    def watch_again(self, voice: Voice) -> Voice:
        """Watch a voice that ended without the service having the last word."""
        self._watcher.add(voice.task, context=voice.voice_id)
        resumed = self.board.resume(voice)
        self.bell.ring(voice.visitor)
        return resumed

    async def find_previews(self, voice: Voice) -> None:
        """Find out how many previews a finished voice has."""
        run_id = None if voice.latest is None else voice.latest.run_id
        if run_id is None:
            return
        count = None
        try:
            count = len(await self.previews.links(run_id))
        except (CambError, ValueError) as error:  # a run id below 0 is a ValueError
            logger.warning("No previews of %s: %s", voice.task, error)
        if self.board.set_previews(voice.voice_id, count) is not None:
            self.bell.ring(voice.visitor)


def _now() -> float:
    return asyncio.get_running_loop().time()


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
