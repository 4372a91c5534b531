"""Calls to the API: with the key, as often as the policy allows, while open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from copy import copy
from http import HTTPStatus
from random import Random
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from ._budget import RetryBudget
from ._connections import Connections
from ._limiter import Limiter
from ._refusals import Reply, error_from
from ._settings import Credentials, KeyRing
from ._tracing import traceparent
from ._transport import Transport
from .errors import APIConnectionError, CambError, SessionClosedError
from .policies import Limits, RetryPolicy


_ReadT = TypeVar("_ReadT")

#: Is told that the key was refused, and with which error.
RefusalListener = Callable[[Exception], None]


class Calls:
    """What lies between a session's methods and the transport."""

    def __init__(self, keys: KeyRing, retry: RetryPolicy) -> None:
        self.budget: Final = RetryBudget()
        self.refusal_listeners: Final[set[RefusalListener]] = set()
        self._keys: Final = keys
        self._retry: Final = retry
        self._random: Final = Random()
        self._limiter: Limiter
        self._transport: Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._transport is not None

    def open(
        self,
        limits: Limits,
        request_timeout: float,
        borrowed: aiohttp.ClientSession | None,
    ) -> None:
        """Make calls possible in the running event loop.

        Raises:
            SessionClosedError: they are possible already.
        """
        if self._transport is not None:
            message = (
                "The session is open already: enter it once, then share it. (If it "
                "was opened in another event loop, or before a fork: make a new one.)"
            )
            raise SessionClosedError(message)
        self._limiter = Limiter(limits)
        self._keys.enter_loop()
        self._transport = Transport(
            Connections(borrowed), self._limiter, request_timeout
        )

    async def close(self) -> None:
        """Fail what waits to leave, and close what is owned."""
        transport, self._transport = self._transport, None
        self._limiter.refuse_all(SessionClosedError("The session was closed."))
        if transport is not None:
            await transport.close()

    async def read(self, url: URL, parse: Callable[[Reply], _ReadT]) -> _ReadT:
        """Return what a GET says, made again while that may help.

        Raises:
            CambError: from the last try.
        """
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        self.budget.earn()
        attempt = 0
        while True:
            attempt += 1
            try:
                return parse(await self.send("GET", url))
            except CambError as error:
                asked_for: float = getattr(error, "retry_after", None) or 0.0
                why = self._why_not_again(error, attempt, asked_for, loop.time())
                if why is not None:
                    seconds = loop.time() - began_at
                    error.add_note(
                        f"GET {url.raw_path}: try {attempt} of {self._retry.attempts}, "
                        f"{seconds:.1f} s after the first began; {why}."
                    )
                    raise
            backoff = self._retry.backoff(attempt, self._random.random())
            await asyncio.sleep(max(backoff, asked_for))

    def _why_not_again(
        self, error: CambError, attempt: int, asked_for: float, now: float
    ) -> str | None:
        """Return why a read is not made again; None if it is."""
        if not error.retryable:
            return "trying again would change nothing"
        if attempt >= self._retry.attempts:
            return "that is as often as the policy allows"
        if asked_for > self._retry.backoff_max:
            return "the server asks for more patience than the policy has"
        if not self.budget.spend(now):
            return "so much fails at present that no more is tried again"
        return None

    async def send(self, method: str, url: URL, body: bytes | None = None) -> Reply:
        """Return the answer to one request, whatever its status.

        Raises:
            CambError: there was none.
        """
        self.check_open()
        used = self._keys.credentials or await self._keys.obtain()
        asked = self._keys.asked

        def sign() -> Mapping[str, str]:
            nonlocal used, asked
            used, asked = self._keys.credentials or used, self._keys.asked
            return _traced(used.headers)

        # Getting the key may have taken a while, so the session is looked at again.
        reply = await self.check_open().send(method, url, sign, body)
        if reply.status != HTTPStatus.UNAUTHORIZED:
            return used.redact(reply)
        # A request that was refused did nothing, so even a create may be sent once
        # more if there is another key by now.
        if await self._renewed(reply, used, asked):
            reply = await self.check_open().send(method, url, sign, body)
            if reply.status == HTTPStatus.UNAUTHORIZED:
                self._refuse_all(used.redact(reply))
        return used.redact(reply)

    async def _renewed(self, reply: Reply, used: Credentials, asked: int) -> bool:
        """Return whether there is another key; if not, nothing that waits is sent."""
        try:
            renewed = await self._keys.renew(used, asked)
        except asyncio.CancelledError:
            # Whether there is another key is not known: the next one finds out.
            self._limiter.go_on()
            raise
        except APIConnectionError as error:
            # Nor is it here. What waits fails, and finds out when it is sent again.
            self._limiter.refuse_all(error)
            self._limiter.go_on()
            raise
        except BaseException:
            self._refuse_all(used.redact(reply))
            raise
        if renewed:
            self._limiter.go_on()
        else:
            self._refuse_all(used.redact(reply))
        return renewed

    def _refuse_all(self, reply: Reply) -> None:
        """Fail what waits to leave, and what would come next: all watches."""
        error = error_from(reply)
        self._limiter.refuse_all(error)
        for tell in tuple(self.refusal_listeners):
            tell(copy(error))
        self._limiter.go_on()

    def check_open(self) -> Transport:
        """Return the transport.

        Raises:
            SessionClosedError: the session is not open in this event loop.
        """
        transport = self._transport
        if transport is None:
            message = (
                "The session is not open: use it as "
                "`async with CambSession() as camb:`, inside the block."
            )
            raise SessionClosedError(message)
        if transport.loop is not asyncio.get_running_loop():
            message = "The session was opened in another event loop: open one in this."
            raise SessionClosedError(message)
        return transport


def _traced(headers: Mapping[str, str]) -> Mapping[str, str]:
    parent = traceparent()
    return headers if parent is None else {**headers, "traceparent": parent}
