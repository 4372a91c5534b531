"""What the application talks to: Camb.ai or the simulator, a file or a database."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager

from camb_async import CambSession, PostgresStore, TaskStatus, TaskStore, store_at
from camb_async.simulator import Scenario, Simulator

from .orders import Orders, is_dsn, open_orders


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


@asynccontextmanager
async def open_records(*, lease: float) -> AsyncGenerator[tuple[TaskStore, Orders]]:
    """Provide the store of watched tasks, and the application's own table.

    The variable STORE says where. A database holds both; beside the store's file
    there is another one. The simulator forgets its tasks with the process, so what is
    known of them is forgotten, too.

    Raises:
        StoreError: the store cannot be used.
        OrdersError: the table cannot be used.
        ValueError: the lease is not above zero.
    """
    with ExitStack() as stack:
        where = os.environ.get("STORE") or "web_app.db"
        if is_simulated():
            directory = tempfile.TemporaryDirectory(prefix="web_app-")
            where = f"{stack.enter_context(directory)}/web_app.db"
        dsn = is_dsn(where)
        store = PostgresStore(where, lease=lease) if dsn else store_at(where)
        async with store, open_orders(where if dsn else f"{where}.orders") as orders:
            yield store, orders
