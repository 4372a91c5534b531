"""What only the PostgreSQL store does: leases, takeovers, suspects."""

from __future__ import annotations

from camb_async import PostgresStore

from .helpers import run


def test_a_task_is_added_once(dsn: str) -> None:
    """As in every store."""

    async def main() -> list[int]:
        async with PostgresStore(dsn) as store:
            return [await store.add("a"), await store.add("a"), await store.watching()]

    assert [1, 0, 1] == run(main())
