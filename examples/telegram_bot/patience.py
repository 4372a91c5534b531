"""Requests to Telegram that keep to its limits and outlast its troubles."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramEntityTooLarge,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import (
    EditMessageText,
    GetMe,
    GetUpdates,
    Response,
    SetMyCommands,
    TelegramMethod,
)
from aiogram.methods.base import TelegramType


if TYPE_CHECKING:
    from aiogram.client.session.middlewares.base import NextRequestMiddlewareType


logger = logging.getLogger(__name__)

#: What a network, a proxy or a Telegram that restarts answers with.
TROUBLE = (TelegramNetworkError, TelegramServerError, ClientDecodeError)

# Whoever sends these knows better what to do when they fail.
_ONE_TRY = frozenset({EditMessageText, GetUpdates, SetMyCommands})
# Not a message: it is not counted, and waits for no turn.
_UNCOUNTED = frozenset({GetMe, GetUpdates, SetMyCommands})


class Patience(BaseRequestMiddleware):
    """Sends at a bearable rate, and again after a 429, a 5xx or a broken network.

    A message whose connection broke may have been sent: then it comes twice,
    which is better than never.

    Args:
        rate: messages a second, over all chats; Telegram allows about thirty.
        insist: seconds after which one request is given up.
        pause: seconds before the second try; it doubles up to half a minute.
    """

    def __init__(
        self, *, rate: float = 25.0, insist: float = 600.0, pause: float = 0.5
    ) -> None:
        self._gap = 1.0 / rate
        self._insist = insist
        self._pause = pause
        self._next_turn = 0.0

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        """Make one request, as often as it takes."""
        kind = type(method)
        loop = asyncio.get_running_loop()
        give_up_at = inf if kind is GetMe else loop.time() + self._insist
        failures = 0
        while True:
            if kind not in _UNCOUNTED:
                await self._turn()
            try:
                return await make_request(bot, method)
            except TelegramEntityTooLarge:
                raise
            except (TelegramRetryAfter, *TROUBLE) as error:
                failures += 1
                pause = self.pause_after(error, failures)
                if kind in _ONE_TRY or loop.time() + pause > give_up_at:
                    raise
                logger.info("%s: again in %.1f s", kind.__name__, pause)
            await asyncio.sleep(pause)

    def pause_after(self, error: Exception, failures: int) -> float:
        """Return the seconds to wait after an error, this many of them in a row."""
        if isinstance(error, TelegramRetryAfter):
            return error.retry_after
        return min(30.0, self._pause * 2.0 ** min(failures - 1, 16))

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next_turn)
        self._next_turn = turn + self._gap
        if turn > now:
            await asyncio.sleep(turn - now)
