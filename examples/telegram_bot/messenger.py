"""Voices in Telegram: one message per voice, edited at a bearable pace."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

import attrs
from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramRetryAfter
from aiogram.types import BufferedInputFile, ReplyParameters

from .background import Background
from .patience import TROUBLE, Patience
from .voices import Place, Preview, UndeliverableError


logger = logging.getLogger(__name__)

# Seconds; an upload takes longer than a word.
_EDIT_TIMEOUT = 15
_UPLOAD_TIMEOUT = 120


@attrs.define
class _Message:
    """What one message should say, and what it says."""

    wanted: str = ""
    shown: str = ""
    last: bool = False

    @property
    def over(self) -> bool:
        return self.last and self.shown == self.wanted


@attrs.define(eq=False)
class _Chat:
    """The messages of one chat that may still change; ``news`` that one should."""

    messages: dict[int, _Message] = attrs.field(factory=dict[int, _Message])
    news: asyncio.Event = attrs.field(factory=asyncio.Event)
    failures: int = 0
    quiet_until: float = 0.0

    def next_due(self) -> int | None:
        """Return the message to edit next: the one whose last edit is longest ago."""
        due = (
            message_id
            for message_id, message in self.messages.items()
            if message.shown != message.wanted
        )
        return next(due, None)

    def forget_what_is_over(self) -> None:
        for message_id in [id_ for id_, each in self.messages.items() if each.over]:
            del self.messages[message_id]


class TelegramMessenger:
    """Shows each message's newest text, one edit at a time per chat.

    A text that was overtaken by a newer one is never sent, an unchanged one
    neither. Use it as ``async with``.

    Args:
        bot: whose messages they are.
        patience: the bot's; it knows how long to wait after an error.
        edit_every: seconds between two edits in one chat, at the least.
        farewell: seconds for the last words when the bot stops.
    """

    def __init__(
        self,
        bot: Bot,
        patience: Patience,
        *,
        edit_every: float = 3.0,
        farewell: float = 2.0,
    ) -> None:
        self._bot = bot
        self._patience = patience
        self._edit_every = edit_every
        self._farewell = farewell
        self._chats: dict[int, _Chat] = {}
        self._lines = Background()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._lines.end()
        now = asyncio.get_running_loop().time()
        last_words = Background()
        for chat_id, chat in self._chats.items():
            if chat.quiet_until <= now:
                last_words.start(self._say_last_words(chat_id, chat))
        await last_words.end(grace=self._farewell)

    def show(self, place: Place, text: str, *, last: bool = False) -> None:
        """Have the place's message say this, soon; ``last`` if nothing follows."""
        chat_id = place["chat_id"]
        chat = self._chats.get(chat_id)
        if chat is None:
            chat = self._chats[chat_id] = _Chat()
            self._lines.start(self._keep_shown(chat_id, chat))
        message = chat.messages.setdefault(place["message_id"], _Message())
        if not message.last:
            message.wanted, message.last = text, last
            chat.news.set()

    async def send_audio(self, place: Place, preview: Preview, title: str) -> None:
        """Send one audio file, as an answer to the place's message.

        Raises:
            UndeliverableError: Telegram refuses it, or is out of reach for long.
        """
        try:
            await self._bot.send_audio(
                place["chat_id"],
                BufferedInputFile(preview.audio, preview.filename),
                title=title,
                reply_parameters=ReplyParameters(
                    message_id=place["message_id"], allow_sending_without_reply=True
                ),
                request_timeout=_UPLOAD_TIMEOUT,
            )
        except AiogramError as error:
            raise UndeliverableError(str(error)) from error

    async def _keep_shown(self, chat_id: int, chat: _Chat) -> None:
        while chat.messages:
            message_id = chat.next_due()
            if message_id is None:
                chat.news.clear()
                await chat.news.wait()
            else:
                await asyncio.sleep(await self._edit(chat_id, chat, message_id))
            chat.forget_what_is_over()
        del self._chats[chat_id]

    async def _say_last_words(self, chat_id: int, chat: _Chat) -> None:
        for message_id, message in list(chat.messages.items()):
            if message.shown != message.wanted:
                await self._edit(chat_id, chat, message_id)

    async def _edit(self, chat_id: int, chat: _Chat, message_id: int) -> float:
        """Edit a message; return the seconds to wait before the chat's next edit."""
        message = chat.messages.pop(message_id)
        chat.messages[message_id] = message  # behind the others of its chat
        text = message.wanted
        try:
            await self._bot.edit_message_text(
                text,
                chat_id=chat_id,
                message_id=message_id,
                request_timeout=_EDIT_TIMEOUT,
            )
        except (TelegramRetryAfter, *TROUBLE) as error:
            chat.failures += 1
            pause = self._patience.pause_after(error, chat.failures)
            if isinstance(error, TelegramRetryAfter):
                chat.quiet_until = asyncio.get_running_loop().time() + pause
            logger.info("Chat %s: the next edit in %.1f s", chat_id, pause)
            return max(pause, self._edit_every)
        except AiogramError as error:
            # The message or the chat is gone, or the bot was blocked there: to
            # try again would change nothing.
            logger.info("Chat %s: a message stays as it is: %s", chat_id, error)
        chat.failures = 0
        message.shown = text
        return self._edit_every
