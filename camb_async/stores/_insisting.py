"""Call a store until it works: what is watched must not end because it is away."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import anyio

from camb_async.errors import StoreError
from camb_async.policies import RetryPolicy


logger = logging.getLogger("camb_async")

_BACKOFF = RetryPolicy(backoff_initial=0.2, backoff_max=5.0)

_ReturnT = TypeVar("_ReturnT")


class Insisting:
    """Calls again after failures that may pass, and logs the first of them."""

    def __init__(self) -> None:
        self._failing = False
        self._random = Random()

    async def __call__(self, call: Callable[[], Awaitable[_ReturnT]]) -> _ReturnT:
        """Return what a call returns once it works.

        Raises:
            StoreError: one that will not pass.
        """
        failures = 0
        while True:
            try:
                result = await call()
            except StoreError as error:
                if not error.retryable:
                    raise
                failures += 1
                if not self._failing:
                    logger.warning("The store fails, and is tried again: %s", error)
                self._failing = True
                await anyio.sleep(_BACKOFF.backoff(failures, self._random.random()))
            else:
                if failures:
                    logger.info("The store works after %d tries", failures)
                    self._failing = False
                return result
