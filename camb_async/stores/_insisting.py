"""Do not give up: call a store until it works, and bring what has begun to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

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
        # What is watched must not end because its store is away.
        failures = 0
        try:
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
                    continue
                if failures:
                    logger.info("The store works after %d tries", failures)
                return result
        finally:
            # Also where the caller was cancelled: the next outage is to be told.
            if failures:
                self._failing = False


async def to_the_end(job: Coroutine[Any, Any, _ReturnT]) -> _ReturnT:
    """Run a job that is not cut short, even when the caller is cancelled."""
    task = asyncio.ensure_future(job)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    failed = not task.cancelled() and task.exception()
    if cancelled is not None and not failed:
        raise cancelled
    return task.result()
