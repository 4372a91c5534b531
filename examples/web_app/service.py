"""Which service the application talks to: Camb.ai, or the built-in simulator."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from camb_async import CambSession, TaskStatus
from camb_async.simulator import Scenario, Simulator


# Every outcome turns up before long, so that a demonstration shows them.
_VARIED = Scenario(
    median=7.0,
    sigma=0.5,
    shortest=3.0,
    longest=20.0,
    outcomes={
        TaskStatus.SUCCESS: 70,
        TaskStatus.ERROR: 14,
        TaskStatus.TIMEOUT: 8,
        TaskStatus.PAYMENT_REQUIRED: 8,
    },
)


def is_simulated() -> bool:
    """Return whether there is no key, so that the simulator stands in."""
    return not os.environ.get("CAMB_API_KEY", "").strip()


@asynccontextmanager
async def open_service() -> AsyncGenerator[CambSession]:
    """Provide a session with Camb.ai, or with a simulator if there is no key.

    Raises:
        ConfigurationError: the key or the base URL cannot be used.
    """
    if not is_simulated():
        async with CambSession() as camb:
            yield camb
        return
    async with (
        Simulator(_VARIED, seed=secrets.randbits(32)) as simulator,
        CambSession(simulator.api_key, base_url=simulator.base_url) as camb,
    ):
        yield camb
