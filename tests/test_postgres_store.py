"""What only the PostgreSQL store does: leases, takeovers, suspects."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from camb_async import PostgresStore
from camb_async.stores._server import each_host

from .helpers import run


def test_a_task_is_added_once(dsn: str) -> None:
    """As in every store."""

    async def main() -> list[int]:
        async with PostgresStore(dsn) as store:
            return [await store.add("a"), await store.add("a"), await store.watching()]

    assert [1, 0, 1] == run(main())


def test_the_tables_are_made_once(dsn: str) -> None:
    """Though all processes of a fleet start together, and find none."""

    async def main() -> list[int]:
        async with contextlib.AsyncExitStack() as stack:
            stores = [PostgresStore(dsn) for _ in range(6)]
            await asyncio.gather(*map(stack.enter_async_context, stores))
            return [await store.watching() for store in stores]

    assert [0] * 6 == run(main())


@pytest.mark.parametrize(
    ("dsn", "each"),
    [
        ("postgresql://h/db", ["postgresql://h/db"]),
        (
            "postgres://a:b,c@h:1,[::1]:2",
            ["postgres://a:b,c@h:1", "postgres://a:b,c@[::1]:2"],
        ),
        (
            "postgresql://h,i?user=x,y",
            ["postgresql://h?user=x,y", "postgresql://i?user=x,y"],
        ),
        ("postgresql:///db?host=h,i", ["postgresql:///db?host=h,i"]),
        ("no address", ["no address"]),
    ],
)
def test_each_host_is_tried_by_itself(dsn: str, each: list[str]) -> None:
    """With what else the address says; what is none is left to asyncpg."""
    assert each == each_host(dsn)
