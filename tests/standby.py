"""A PostgreSQL server that follows another one, and can take its place."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Generator

import asyncpg

from .postgres import PostgresServer, server


class Standby(PostgresServer):
    """A server that has what another one has, to the last commit."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        data = self._home / "data"
        shutil.rmtree(data)
        self._run("pg_basebackup", "-R", "-c", "fast", "-D", str(data), *_at(primary))
        self._primary = primary

    def start(self) -> None:
        """Start it, and have the other one commit nothing without it from now on."""
        super().start()
        asyncio.run(_await_standby(self._primary))

    def promote(self) -> None:
        """Have it take the place of the other one."""
        asyncio.run(_execute(self, "select pg_promote()"))


def _at(primary: PostgresServer) -> tuple[str, ...]:
    return ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "camb")


@contextlib.contextmanager
def two_servers() -> Generator[tuple[PostgresServer, Standby]]:
    """Run a server, and one that follows it."""
    with server() as primary:
        # It is a setting of the role, since those of the command line go first.
        asyncio.run(_execute(primary, "alter role camb set synchronous_commit = on"))
        standby = Standby(primary)
        try:
            standby.start()
            yield primary, standby
        finally:
            standby.close()


async def _await_standby(primary: PostgresServer) -> None:
    await _execute(primary, "alter system set synchronous_standby_names = '*'")
    await _execute(primary, "select pg_reload_conf()")
    connection = await asyncpg.connect(primary.dsn("postgres"))
    async with asyncio.timeout(20):
        while "sync" != await connection.fetchval(  # noqa: ASYNC110
            "select sync_state from pg_stat_replication"
        ):
            await asyncio.sleep(0.02)
    await connection.close()


async def _execute(where: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(where.dsn("postgres"))
    await connection.execute(statement)
    await connection.close()
