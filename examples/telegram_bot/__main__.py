"""Start the bot: ``TELEGRAM_BOT_TOKEN=... python -m examples.telegram_bot``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.exceptions import TelegramUnauthorizedError

from camb_async import (
    CambSession,
    ConfigurationError,
    StoreError,
    TaskStore,
    store_at,
)
from camb_async.simulator import Simulator

from . import texts
from .bot import VoiceDispatcher, serve
from .memory import remembered
from .settings import Settings, SettingsError, log_to_stderr


logger = logging.getLogger("examples.telegram_bot")


@asynccontextmanager
async def open_camb(settings: Settings) -> AsyncGenerator[CambSession]:
    """Open a session with Camb.ai, or with the simulator if there is no key."""
    if settings.camb_key is not None:
        with remembered(settings.durations) as schedule:
            async with CambSession(settings.camb_key, schedule=schedule) as camb:
                yield camb
        return
    logger.warning("CAMB_API_KEY is not set: the voices come from a simulator")
    async with (
        Simulator("demo") as simulator,
        CambSession(simulator.api_key, base_url=simulator.base_url) as camb,
    ):
        yield camb


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncGenerator[TaskStore]:
    """Open the store of what is waited for; the simulator's tasks end with it."""
    with ExitStack() as stack:
        where = settings.store
        if settings.camb_key is None:
            directory = tempfile.TemporaryDirectory(prefix="telegram_bot-")
            where = f"{stack.enter_context(directory)}/telegram_bot.db"
        async with store_at(where) as store:
            yield store


async def run(settings: Settings) -> None:
    """Run the bot until SIGINT or SIGTERM."""
    bot = Bot(settings.token, session=AiohttpSession(api=settings.server))
    welcome = texts.welcome(simulated=settings.camb_key is None)
    async with open_camb(settings) as camb, open_store(settings) as store:
        await serve(bot, camb, store, VoiceDispatcher(), welcome=welcome)


def main() -> int:
    """Run the bot and return the exit code: 2 if a setting has to be mended."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    log_to_stderr(settings.secrets)
    try:
        asyncio.run(run(settings))
    except KeyboardInterrupt:
        return 130
    except (ConfigurationError, StoreError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the settings are wrong, not the code
        return 2
    except TelegramUnauthorizedError:
        logger.error("Telegram does not know this token: ask @BotFather")  # noqa: TRY400
        return 2
    except Exception:
        # Through the log, which masks secrets, and not through the interpreter.
        logger.critical("The bot stopped", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
