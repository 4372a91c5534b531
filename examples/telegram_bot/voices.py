"""Voices for many chats through one watcher: create, follow, deliver.

Nothing here knows Telegram. What is sent where is a Messenger's business, and a
Messenger needs no more than a Place: a small JSON mapping, which travels through
the watcher as each task's context. No other record is kept of who waits for what.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
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
    TaskRef,
    Transition,
    WatchedTask,
)

from . import texts
from .background import Background


logger = logging.getLogger(__name__)

_ResultT = TypeVar("_ResultT")


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
        grace: what deliveries under way are given when the bot stops.
    """

    per_chat: int = 3
    deadline: float = 3600.0
    refresh: float = 1.0
    pauses: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
    grace: float = 3.0


class Voices:
    """The voices of all chats. Use it as ``async with``."""

    def __init__(
        self,
        camb: CambSession,
        messenger: Messenger,
        options: VoiceOptions | None = None,
    ) -> None:
        self.options = options or VoiceOptions()
        self._camb = camb
        self._messenger = messenger
        self._watcher = camb.watch(deadline=self.options.deadline, keep_open=True)
        self._busy: Counter[int] = Counter()
        self._loops = Background()
        self._deliveries = Background()

    async def __aenter__(self) -> Self:
        await self._watcher.__aenter__()
        self._loops.start(self._pass_on())
        self._loops.start(self._refresh())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._loops.end()
            for watched in self._watcher.watched():
                text = texts.text_when_stopped(watched)
                self._messenger.show(watched.context, text, last=True)
            await self._deliveries.end(grace=self.options.grace)
        finally:
            await self._watcher.__aexit__(kind, error, traceback)

    def has_room(self, chat_id: int) -> bool:
        """Tell whether the chat may have one more voice under way."""
        under_way = self._busy[chat_id] + len(self.of_chat(chat_id))
        return under_way < self.options.per_chat

    def of_chat(self, chat_id: int) -> list[WatchedTask]:
        """Return the chat's watched tasks, in the order they were created."""
        watched = self._watcher.watched()
        return [each for each in watched if each.context["chat_id"] == chat_id]

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
            except CambError as error:
                logger.warning("No task for chat %s: %s", chat_id, error)
                said = texts.text_when_not_created(error)
                self._messenger.show(place, said, last=True)
            else:
                logger.info("Task %s for chat %s", task, chat_id)
                self._watcher.add(task, context=place)

    def discard(self, chat_id: int, message_id: int | None = None) -> int:
        """Stop waiting for the voices of a chat, or for the one of this message.

        Returns:
            How many voices that were.
        """
        mine = [
            each
            for each in self.of_chat(chat_id)
            if message_id in {None, each.context["message_id"]}
        ]
        for watched in mine:
            self._watcher.discard(watched.task)
            text = texts.text_when_discarded(watched)
            self._messenger.show(watched.context, text, last=True)
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

    async def _pass_on(self) -> None:
        async for transition in self._watcher:
            if transition.is_final:
                self._deliveries.start(self._finish(transition))
            else:
                self._messenger.show(transition.context, texts.text_for(transition))

    async def _refresh(self) -> None:
        while True:
            for watched in self._watcher.watched():
                text = texts.text_while_watching(watched)
                self._messenger.show(watched.context, text)
            await asyncio.sleep(self.options.refresh)

    async def _finish(self, transition: Transition) -> None:
        place: Place = transition.context
        told = not transition.succeeded
        with self._busy_in(place["chat_id"]):
            try:
                if transition.succeeded:
                    await self._deliver(place, transition.run_id)
                    told = True
            except (CambError, UndeliverableError) as error:
                logger.warning("Task %s is undelivered: %s", transition.task, error)
            finally:
                say = texts.text_for if told else texts.text_when_undelivered
                self._messenger.show(place, say(transition), last=True)

    async def _deliver(self, place: Place, run_id: int | None) -> None:
        if run_id is None:
            message = "The task succeeded and told no run."
            raise UndeliverableError(message)
        previews = await self._insist(
            lambda: fetch_previews(self._camb, run_id), _may_come_later
        )
        for number, preview in enumerate(previews, start=1):
            title = f"{place['title']} ({number} of {len(previews)})"
            await self._messenger.send_audio(place, preview, title)

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
        """Count a voice of the chat that the watcher does not watch."""
        self._busy[chat_id] += 1
        try:
            yield
        finally:
            self._busy -= Counter((chat_id,))  # which keeps no zeros


async def fetch_previews(camb: CambSession, run_id: int) -> list[Preview]:
    """Return the previews of a run, fetched from their links without the key."""
    async with anyio.TemporaryDirectory(prefix="previews-") as directory:
        paths = await camb.download_previews(run_id, directory)
        return [
            Preview(path.name, await anyio.Path(path).read_bytes()) for path in paths
        ]


def _may_come_later(error: CambError) -> bool:
    if isinstance(error, LinkExpiredError):
        return False
    return error.retryable or isinstance(error, DownloadError)
