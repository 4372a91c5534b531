"""Voices for many chats through one store: create, follow, deliver.

Nothing here knows Telegram. What is sent where is a Messenger's business, and a
Messenger needs no more than a Place: a small JSON mapping, which is kept in the
store as each task's context. No other record is kept of who waits for what.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self, TypedDict, TypeVar

import anyio
import attrs

from camb_async import (
    APIConnectionError,
    CambError,
    CambSession,
    DownloadError,
    LinkExpiredError,
    RateLimitError,
    StoreError,
    TaskRef,
    TaskState,
    TaskStore,
    TaskWatcher,
    Transition,
    work,
)

from . import texts
from .background import Background


logger = logging.getLogger(__name__)

_ResultT = TypeVar("_ResultT")

#: Voices that are delivered at one time; the others wait in the store.
_READERS = 16
#: Previews that are known to be sent, and voices that are known to be cancelled.
_REMEMBERED = 1000


class Place(TypedDict):
    """Where a voice is told about: which message of which chat; and its title."""

    chat_id: int
    message_id: int
    title: str


@attrs.frozen
class Preview:
    """The audio of one preview, and the name of its file."""

    filename: str
    audio: bytes = attrs.field(repr=False)


class UndeliverableError(Exception):
    """A messenger gave up on sending something; its cause tells why."""


class Messenger(Protocol):
    """What a voice needs of a chat program."""

    def show(self, place: Place, text: str, *, last: bool = False) -> None:
        """Have the place's message say this, soon; ``last`` if nothing follows."""

    async def send_audio(self, place: Place, preview: Preview, title: str) -> None:
        """Send one audio file.

        Raises:
            UndeliverableError: it cannot be sent.
        """


@attrs.frozen(kw_only=True)
class VoiceOptions:
    """How voices are made. All times are in seconds.

    Attributes:
        per_chat: voices under way in one chat at the most.
        deadline: how long one task is waited for.
        refresh: how often the status messages are brought up to date.
        pauses: between the tries of a call that did not get through.
        again: before watching or reading that has failed is begun anew.
        grace: what deliveries under way are given when the bot stops.
    """

    per_chat: int = 3
    deadline: float = 3600.0
    refresh: float = 1.0
    pauses: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
    again: float = 30.0
    grace: float = 3.0


@attrs.frozen
class UnderWay:
    """A voice that is watched, as this process last heard of it.

    ``error`` is why nothing is heard of it at the moment, None while all is well.
    """

    place: Place
    state: TaskState | None = None
    error: Exception | None = None


class Voices:
    """The voices of all chats. Use it as ``async with``, inside of its store's."""

    def __init__(
        self,
        camb: CambSession,
        store: TaskStore,
        messenger: Messenger,
        options: VoiceOptions | None = None,
    ) -> None:
        self.options = options or VoiceOptions()
        self._camb = camb
        self._store = store
        self._messenger = messenger
        self._watcher: TaskWatcher | None = None
        self._under_way: dict[TaskRef, UnderWay] = {}
        self._cancelled: deque[TaskRef] = deque(maxlen=_REMEMBERED)
        self._busy: Counter[int] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sent: deque[object] = deque(maxlen=_REMEMBERED)
        self._loops = Background()

    async def __aenter__(self) -> Self:
        self._loops.start(self._refresh())
        self._loops.start(self._go_on(self._work))
        for _ in range(_READERS):
            self._loops.start(self._go_on(self._read))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.grace):
                await self._idle.wait()
        # What is not delivered by now is delivered after the next start.
        await self._loops.end()
        for task, voice in self._under_way.items():
            text = texts.text_when_stopped(task)
            self._messenger.show(voice.place, text, last=True)

    def has_room(self, chat_id: int) -> bool:
        """Tell whether the chat may have one more voice under way."""
        under_way = self._busy[chat_id] + len(self.of_chat(chat_id))
        return under_way < self.options.per_chat

    def of_chat(self, chat_id: int) -> dict[TaskRef, UnderWay]:
        """Return the chat's voices that are watched, from before a restart too."""
        self._look()
        return {
            task: voice
            for task, voice in self._under_way.items()
            if voice.place["chat_id"] == chat_id
        }

    async def create(self, place: Place, *, text: str, description: str) -> None:
        """Create a voice and watch it; whatever happens is shown at the place."""
        chat_id = place["chat_id"]
        if not self.has_room(chat_id):
            refusal = texts.too_many(self.options.per_chat)
            self._messenger.show(place, refusal, last=True)
            return
        with self._busy_in(chat_id):
            try:
                task = await self._submit(place, text, description)
                await self._keep(task, place)
            except CambError as error:
                logger.warning("No voice for chat %s: %s", chat_id, error)
                said = texts.text_when_not_created(error)
                self._messenger.show(place, said, last=True)
            else:
                logger.info("Task %s for chat %s", task, chat_id)

    async def discard(self, chat_id: int, message_id: int | None = None) -> int:
        """Stop waiting for the voices of a chat, or for the one of this message.

        Returns:
            How many voices that were.
        """
        mine = {
            task: voice.place
            for task, voice in self.of_chat(chat_id).items()
            if message_id in {None, voice.place["message_id"]}
        }
        for task, place in mine.items():
            await self._store.discard(task)
            self._cancelled.append(task)
            self._under_way.pop(task, None)
            self._messenger.show(place, texts.text_when_discarded(task), last=True)
        return len(mine)

    async def _submit(self, place: Place, text: str, description: str) -> TaskRef:
        async def call() -> TaskRef:
            return await self._camb.create_text_to_voice(
                text=text, voice_description=description
            )

        def worth_another(error: CambError) -> bool:
            # After these two, and no other error, there is certainly no task.
            if not isinstance(error, APIConnectionError | RateLimitError):
                return False
            self._messenger.show(place, texts.UNREACHABLE)
            return True

        return await self._insist(call, worth_another)

    async def _keep(self, task: TaskRef, place: Place) -> None:
        async def add() -> None:
            await self._store.add(task, context=place, deadline=self.options.deadline)

        self._under_way[task] = UnderWay(place)
        try:
            await self._insist(add, lambda error: error.retryable)
        except StoreError:
            self._under_way.pop(task, None)
            raise

    async def _go_on(self, job: Callable[[], Awaitable[None]]) -> None:
        """Do a job for ever; when it fails the store has all that is left to do."""
        while True:
            try:
                await job()
            except Exception:
                logger.exception("It is tried again in %.0f s", self.options.again)
            await asyncio.sleep(self.options.again)

    async def _work(self) -> None:
        await work(self._camb, self._store, observe=self._look_at)

    def _look_at(self, watcher: TaskWatcher) -> None:
        self._watcher = watcher

    def _look(self) -> None:
        """Take note of how the watched voices stand, those of a bot before too."""
        for watched in self._watcher.watched() if self._watcher else ():
            # The watcher is told a little later than the store.
            if watched.task not in self._cancelled:
                self._under_way[watched.task] = UnderWay(
                    watched.context, watched.state, watched.error
                )

    async def _read(self) -> None:
        """Take one transition after the other, each to its end.

        Coming back for the next one is what acknowledges: a bot that is killed before
        is given the same one again.
        """
        async for transition in self._store.transitions():
            if transition.is_final:
                await self._finish(transition)
            else:
                self._messenger.show(transition.context, texts.text_for(transition))

    async def _refresh(self) -> None:
        while True:
            self._look()
            for task, voice in self._under_way.items():
                text = texts.text_while_watching(
                    task, voice.state, _age(task), voice.error
                )
                self._messenger.show(voice.place, text)
            await asyncio.sleep(self.options.refresh)

    async def _finish(self, transition: Transition) -> None:
        place: Place = transition.context
        told = not transition.succeeded
        self._under_way.pop(transition.task, None)
        with self._busy_in(place["chat_id"]):
            try:
                if transition.succeeded:
                    await self._deliver(place, transition)
                    told = True
            except (CambError, UndeliverableError) as error:
                logger.warning("Task %s is undelivered: %s", transition.task, error)
            say = texts.text_for if told else texts.text_when_undelivered
            self._messenger.show(place, say(transition), last=True)

    async def _deliver(self, place: Place, transition: Transition) -> None:
        run_id = transition.run_id
        if run_id is None:
            message = "The task succeeded and told no run."
            raise UndeliverableError(message)
        previews = await self._insist(
            lambda: fetch_previews(self._camb, run_id), _may_come_later
        )
        for number, preview in enumerate(previews, start=1):
            # The same transition may come again; a chat should not notice.
            if (transition.key, number) in self._sent:
                continue
            title = f"{place['title']} ({number} of {len(previews)})"
            await self._messenger.send_audio(place, preview, title)
            self._sent.append((transition.key, number))

    async def _insist(
        self,
        call: Callable[[], Awaitable[_ResultT]],
        worth_another: Callable[[CambError], bool],
    ) -> _ResultT:
        """Make a call again, with pauses, while its errors are worth another try."""
        for pause in self.options.pauses:
            try:
                return await call()
            except CambError as error:
                asked_for: float = getattr(error, "retry_after", None) or 0.0
                if not worth_another(error) or asked_for > self.options.pauses[-1]:
                    raise
                await asyncio.sleep(max(pause, asked_for))
        return await call()

    @contextmanager
    def _busy_in(self, chat_id: int) -> Generator[None]:
        """Count a voice of the chat that is worked on here."""
        self._busy[chat_id] += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._busy -= Counter((chat_id,))  # which keeps no zeros
            if not self._busy:
                self._idle.set()


async def fetch_previews(camb: CambSession, run_id: int) -> list[Preview]:
    """Return the previews of a run, fetched from their links without the key."""
    async with anyio.TemporaryDirectory(prefix="previews-") as directory:
        paths = await camb.download_previews(run_id, directory)
        return [
            Preview(path.name, await anyio.Path(path).read_bytes()) for path in paths
        ]


def _age(task: TaskRef) -> float:
    """Return the seconds since a task was created, by this process or another."""
    now = datetime.now(UTC)
    return (now - (task.created_at or now)).total_seconds()


def _may_come_later(error: CambError) -> bool:
    if isinstance(error, LinkExpiredError):
        return False
    return error.retryable or isinstance(error, DownloadError)
