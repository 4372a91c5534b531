"""The application's own table: every voice as the page shows it, for all processes.

A transition of a store goes to one reader, in one process. Whoever gets it writes
here how the voice stands, and every process looks here for what its pages show.
There are a handful of statements, which SQLite and PostgreSQL both understand.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol

import attrs

from .voice import Voice


_TABLE = """create table if not exists web_app_voice(
    voice_id text primary key, version integer not null, data text not null)"""
_SECONDS = 10.0  # for one statement


class OrdersError(Exception):
    """The table cannot be used at the moment. The message is for the log."""


class _Database(Protocol):
    async def fetch(self, statement: str, *values: object) -> Sequence[Any]: ...


class Orders:
    """What was ordered. Every method raises an OrdersError if the table fails."""

    def __init__(self, database: _Database) -> None:
        self._fetch = database.fetch

    async def add(self, voice: Voice) -> None:
        """Write a new voice down."""
        await self._fetch(
            "insert into web_app_voice(voice_id, version, data) values (?1, ?2, ?3)",
            voice.voice_id,
            voice.version,
            voice.dump(),
        )

    async def get(self, voice_id: str) -> Voice | None:
        """Return a voice; None if it was removed."""
        rows = await self._fetch(
            "select data, version from web_app_voice where voice_id = ?1", voice_id
        )
        return Voice.load(*rows[0]) if rows else None

    async def change(
        self, voice_id: str, how: Callable[[Voice], Voice | None]
    ) -> Voice | None:
        """Change a voice, unless ``how`` returns None; return it as it is then."""
        while (voice := await self.get(voice_id)) is not None:
            changed = how(voice)
            if changed is None:
                return voice
            rows = await self._fetch(
                "update web_app_voice set version = version + 1, data = ?3 "
                "where voice_id = ?1 and version = ?2 returning version",
                voice_id,
                voice.version,
                changed.dump(),
            )
            # Another process may have been quicker; then it is looked at once more.
            if rows:
                return attrs.evolve(changed, version=rows[0][0])
        return None

    async def remove(self, voice_id: str) -> None:
        """Forget a voice."""
        await self._fetch("delete from web_app_voice where voice_id = ?1", voice_id)

    async def versions(self) -> dict[str, int]:
        """Return the version of each voice that there is."""
        rows = await self._fetch("select voice_id, version from web_app_voice")
        return dict(rows)


def is_dsn(where: str) -> bool:
    """Return whether a setting names a PostgreSQL server, and no file."""
    return where.startswith(("postgresql://", "postgres://"))


@asynccontextmanager
async def open_orders(where: str) -> AsyncGenerator[Orders]:
    """Provide the table: in the database of a DSN, or in a file of its own.

    Raises:
        OrdersError: it cannot be opened.
    """
    opened = _open_postgres(where) if is_dsn(where) else _open_sqlite(where)
    async with opened as database:
        yield Orders(database)


class _Sqlite:
    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor
    ) -> None:
        self._connection = connection
        self._thread = thread

    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._run, statement, values)

    def _run(self, statement: str, values: Sequence[Any]) -> Sequence[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise OrdersError(str(error)) from error


@asynccontextmanager
async def _open_sqlite(where: str) -> AsyncGenerator[_Sqlite]:
    loop = asyncio.get_running_loop()

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(where, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.execute(_TABLE)
        return connection

    with ThreadPoolExecutor(1) as thread:
        try:
            connection = await loop.run_in_executor(thread, connect)
        except sqlite3.Error as error:
            message = f"{where}: {error}"
            raise OrdersError(message) from error
        try:
            yield _Sqlite(connection, thread)
        finally:
            thread.submit(connection.close)


@asynccontextmanager
async def _open_postgres(where: str) -> AsyncGenerator[_Database]:
    # Here, since who keeps a file needs no asyncpg.
    import asyncpg  # noqa: PLC0415

    trouble = (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        OSError,
        TimeoutError,
    )

    class Postgres:
        async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
            try:
                return await pool.fetch(statement.replace("?", "$"), *values)
            except trouble as error:
                raise OrdersError(str(error)) from error

    try:
        pool = await asyncpg.create_pool(
            where, min_size=1, max_size=4, command_timeout=_SECONDS
        )
        async with pool.acquire() as connection, connection.transaction():
            # Processes that start together would make it twice.
            await connection.execute("select pg_advisory_xact_lock(4343)")
            await connection.execute(_TABLE)
    except trouble as error:
        raise OrdersError(str(error)) from error
    try:
        yield Postgres()
    finally:
        await pool.close()
