"""The bot: a dialogue of thin handlers, and how it is run."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiogram import Bot, Dispatcher, F, Router
from aiogram.exceptions import AiogramError
from aiogram.filters import Command, CommandStart
from aiogram.fsm.context import FSMContext
from aiogram.fsm.state import State, StatesGroup
from aiogram.fsm.storage.memory import SimpleEventIsolation
from aiogram.types import BotCommand, Message, Update

from camb_async import CambSession, TaskStore

from . import texts
from .background import Background
from .messenger import TelegramMessenger
from .patience import Patience
from .voices import Place, VoiceOptions, Voices


logger = logging.getLogger(__name__)

_COMMANDS = [
    BotCommand(command="voice", description="Make a voice from a description"),
    BotCommand(command="cancel", description="Leave the dialogue, or stop waiting"),
    BotCommand(command="help", description="What I can do"),
]


class Dialogue(StatesGroup):
    """What the bot waits for in a chat that is in the dialogue."""

    description = State()
    text = State()


async def on_help(message: Message, welcome: str) -> None:
    """Say what the bot can do: /start, /help and small talk in a private chat."""
    await message.answer(welcome)


async def on_voice(message: Message, state: FSMContext, voices: Voices) -> None:
    """Begin the dialogue: /voice."""
    if not voices.has_room(message.chat.id):
        await message.answer(texts.too_many(voices.options.per_chat))
        return
    await state.set_state(Dialogue.description)
    await message.answer(texts.ASK_DESCRIPTION)


async def on_cancel(message: Message, state: FSMContext, voices: Voices) -> None:
    """Leave the dialogue, or stop waiting: /cancel."""
    if await state.get_state() is not None:
        await state.clear()
        await message.answer(texts.DIALOGUE_LEFT)
        return
    answered = message.reply_to_message
    only = answered.message_id if answered else None
    count = await voices.discard(message.chat.id, only)
    await message.answer(texts.cancelled(count) if count else texts.NOTHING_TO_CANCEL)


async def on_description(message: Message, state: FSMContext) -> None:
    """Take the description and ask for the text."""
    description = message.text or ""
    await state.update_data(description=description)
    await state.set_state(Dialogue.text)
    hint = texts.hint_for(description)
    await message.answer(f"{hint}\n\n{texts.ASK_TEXT}" if hint else texts.ASK_TEXT)


async def on_text(message: Message, state: FSMContext, voices: Voices) -> None:
    """Take the text and have the voice made; one message tells of its progress."""
    text = message.text or ""
    description: str = (await state.get_data())["description"]
    await state.clear()
    status = await message.answer(texts.ASKING)
    place = Place(
        chat_id=message.chat.id,
        message_id=status.message_id,
        title=texts.title_for(text),
    )
    await voices.create(place, text=text, description=description)


async def on_no_text(message: Message) -> None:
    """Answer a picture, a sticker or the like within the dialogue."""
    await message.answer(texts.ASK_WORDS)


async def on_unknown_command(message: Message) -> None:
    """Answer a command that there is not."""
    await message.answer(texts.NO_SUCH_COMMAND)


def make_router() -> Router:
    """Return the handlers, each with what it answers; the first that fits does."""
    router = Router(name="voices")
    on = router.message.register
    on(on_help, CommandStart())
    on(on_help, Command("help"))
    on(on_voice, Command("voice"))
    on(on_cancel, Command("cancel"))
    private = F.chat.type == "private"
    on(on_unknown_command, private, F.text.startswith("/"))
    on(on_description, Dialogue.description, F.text)
    on(on_text, Dialogue.text, F.text)
    on(on_no_text, Dialogue.description)
    on(on_no_text, Dialogue.text)
    on(on_help, private)
    return router


async def tell_commands(bot: Bot) -> None:
    """Fill the menu of commands; a bot without it is a bot all the same."""
    try:
        await bot.set_my_commands(_COMMANDS, request_timeout=10)
    except AiogramError as error:
        logger.info("The menu of commands was not set: %s", error)


class VoiceDispatcher(Dispatcher):
    """A dispatcher whose handlers run in turn per chat, and end with it."""

    def __init__(self) -> None:
        # Two messages may come with one answer of Telegram's: the text must not
        # be handled before the description is.
        super().__init__(events_isolation=SimpleEventIsolation())
        self._handlers = Background()
        self.startup.register(tell_commands)
        self.include_router(make_router())

    async def feed_update(self, bot: Bot, update: Update, **kwargs: Any) -> Any:
        """Handle one update, and be known to do so."""
        self._handlers.adopt(asyncio.current_task())
        return await super().feed_update(bot, update, **kwargs)

    async def end_handlers(self, grace: float) -> None:
        """Give the handlers under way ``grace`` seconds, then cancel them."""
        await self._handlers.end(grace=grace)


async def serve(
    bot: Bot,
    camb: CambSession,
    store: TaskStore,
    dispatcher: VoiceDispatcher,
    *,
    welcome: str = texts.HELP,
    options: VoiceOptions | None = None,
    patience: Patience | None = None,
    edit_every: float = 3.0,
    handle_signals: bool = True,
) -> None:
    """Run the bot until SIGINT, SIGTERM or ``dispatcher.stop_polling()``.

    Raises:
        TelegramUnauthorizedError: Telegram does not know the token.
    """
    patience = patience or Patience()
    bot.session.middleware(patience)
    async with (
        bot.context(),
        TelegramMessenger(bot, patience, edit_every=edit_every) as messenger,
        Voices(camb, store, messenger, options) as voices,
    ):
        try:
            await dispatcher.start_polling(  # pyright: ignore[reportUnknownMemberType]
                bot,
                voices=voices,
                welcome=welcome,
                polling_timeout=30,
                allowed_updates=["message"],
                handle_signals=handle_signals,
                close_bot_session=False,
            )
        finally:
            await dispatcher.end_handlers(voices.options.grace)
