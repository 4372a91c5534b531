"""A PostgreSQL server, by a connection that comes back: all that is known of asyncpg.

Whatever goes wrong with the server, or on the way to it, becomes a StoreError. It
holds no error of asyncpg, whose frames know the password.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode

import asyncpg

from camb_async.errors import StoreError

from ._protocol import UnknownOwnerError
from ._statements import IS_MADE, SCHEMA, SCHEMA_LOCK, VERSION, VERSIONS


#: Seconds for a statement, and for it with a new connection and the wait for the
#: lock: a fail-over can hang.
_STATEMENT_TIMEOUT: Final = 8.0
_CALL_TIMEOUT: Final = 10.0
# Whoever freezes within a transaction must not keep its rows locked.
_BEGIN: Final = "begin; set local idle_in_transaction_session_timeout = '10s'"
#: Seconds for all that is under way when the store is closed.
_CLOSE_TIMEOUT: Final = 5.0
#: Seconds between two tries to listen.
_LISTEN_AGAIN: Final = 5.0

# What the server rolls back for the sake of others may be done again at once.
_ONCE_MORE: Final = {"40001", "40P01"}
# Classes of errors that no trying helps: what is written, who asks, and for what.
_LASTING: Final = {"22", "28", "3D", "3F", "42"}
_NO_SUCH_ROW: Final = "23503"

# What to do about it.
_RUNS: Final = "See whether the server runs and can be reached."
_RIGHTS: Final = "See who asks, with which password, for what, and whether they may."
_ESCAPE: Final = (
    "Write characters such as @ and / in a password as %40 and %2F: what follows them "
    "is taken for the host."
)

# A DSN that hides nothing in what is shown: an "@" of a password must be written %40.
_DSN: Final = re.compile(
    r"(?:postgres|postgresql)://(?:[^@/?#]*@)?([\w.,:\[\]-]*(?:/[\w.-]*)?)(?:\?[^@]*)?"
)
# Who asks, which hosts, and the rest of a DSN.
_HOSTS: Final = re.compile(r"(\w+://(?:[^@/?#]*@)?)([^@/?#]*)(.*)", re.DOTALL)

if TYPE_CHECKING:
    # Only the types of asyncpg are told apart by what their rows are.
    _Connection = asyncpg.Connection[asyncpg.Record]

_ReturnT = TypeVar("_ReturnT")


class Server:
    """Makes statements one after the other, on a connection that is replaced.

    Args:
        dsn: where the server is, and who asks; with ``pgbouncer=true`` if it is a
            PgBouncer that pools transactions.
    """

    def __init__(self, dsn: str) -> None:
        address, self._pooled = _without_pgbouncer(dsn)
        self._dsns: Final = each_host(address)
        self.place: Final = place(dsn)
        self._lock = asyncio.Lock()
        self._calls = set[asyncio.Task[Any]]()
        self._patience = _CALL_TIMEOUT
        self._limits = set[asyncio.Timeout]()
        self._connection: _Connection | None = None

    def __repr__(self) -> str:
        return f"<Server {self.place}>"

    async def fetch(
        self, statement: str, *arguments: object
    ) -> Sequence[asyncpg.Record]:
        """Make a statement and return its rows.

        Raises:
            UnknownOwnerError: a worker that it names is not known.
            StoreError: otherwise; the statement may have been made all the same.
        """

        async def fetched(connection: _Connection) -> Sequence[asyncpg.Record]:
            if not self._pooled:
                return await connection.fetch(statement, *arguments)
            # Only within a transaction is it one server that prepares and executes.
            await connection.execute(_BEGIN)
            try:
                rows = await connection.fetch(statement, *arguments)
            except asyncpg.PostgresError:
                await connection.execute("rollback")
                raise
            await connection.execute("commit")
            return rows

        return await self._do(fetched)

    async def make_tables(self) -> None:
        """Make the tables if they are not there.

        Raises:
            StoreError: they cannot be made, or are of a newer version.
        """
        [[made]] = await self.fetch(IS_MADE)
        if not made:
            await self._do(_make_tables)
        [[version, oldest]] = await self.fetch(VERSIONS)
        if oldest > VERSION:
            message = (
                f"{self.place} has tables of a newer camb_async (version {version}, "
                f"where this one knows {VERSION}): upgrade it."
            )
            raise StoreError(message)

    async def listen(
        self, channels: Sequence[str], hear: Callable[[str], None]
    ) -> None:
        """Hear of notifications until cancelled, as long as they are to be had."""
        # Through a pool of transactions none would come.
        while not self._pooled:
            with contextlib.suppress(Exception):
                await self._listen(channels, hear)
            await asyncio.sleep(_LISTEN_AGAIN)

    async def close(self) -> None:
        """Let statements under way come to their end, unless that takes long, and go.

        Whoever waits for one is told all the same.
        """
        if self._calls:
            await asyncio.wait(self._calls, timeout=_CLOSE_TIMEOUT)
        self._patience = 0.0
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0.0)
        if self._calls:
            await asyncio.wait(self._calls)
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1.0)

    async def _do(self, job: Callable[[_Connection], Awaitable[_ReturnT]]) -> _ReturnT:
        # A statement that is cut off leaves its connection in no state to be used, so
        # it is made to its end even if the caller is cancelled.
        call = asyncio.ensure_future(self._call(job))
        self._calls.add(call)
        call.add_done_callback(self._forget)
        return await asyncio.shield(call)

    def _forget(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            # Nobody may be left to be told of a failure.
            call.exception()

    async def _call(
        self, job: Callable[[_Connection], Awaitable[_ReturnT]]
    ) -> _ReturnT:
        limit = asyncio.timeout(self._patience)
        self._limits.add(limit)
        has_lock = False
        try:
            async with limit, self._lock:
                has_lock = True
                return await self._again(job)
        except Exception as error:  # noqa: BLE001 - asyncpg raises what it finds
            failure = self._failure(error, has_lock=has_lock)
        finally:
            self._limits.discard(limit)
        # Raised here and not in the handler, so that nothing hangs on to it.
        raise failure

    async def _again(
        self, job: Callable[[_Connection], Awaitable[_ReturnT]]
    ) -> _ReturnT:
        connection = await self._connected()
        try:
            return await job(connection)
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _ONCE_MORE:
                raise
        return await job(connection)

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> _Connection:
        # Each host has its share of the time, since the first may hang for ever.
        *dsns, last = self._dsns
        for dsn in dsns:
            with contextlib.suppress(Exception):
                return await self._connect_to(dsn)
        return await self._connect_to(last)

    async def _connect_to(self, dsn: str) -> _Connection:
        return await asyncpg.connect(
            dsn,
            timeout=_CALL_TIMEOUT / len(self._dsns),
            command_timeout=_STATEMENT_TIMEOUT,
            statement_cache_size=0 if self._pooled else 100,
            server_settings={"application_name": "camb_async"},
        )

    async def _listen(
        self, channels: Sequence[str], hear: Callable[[str], None]
    ) -> None:
        connection = await self._connect()
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())

        def told(_connection: object, _pid: int, channel: str, _news: object) -> None:
            hear(channel)

        try:
            for channel in channels:
                await connection.add_listener(channel, told)
            # There may have been news while nobody listened.
            for channel in channels:
                hear(channel)
            await gone.wait()
        finally:
            connection.terminate()

    def _failure(self, error: Exception, *, has_lock: bool) -> StoreError:
        state = str(getattr(error, "sqlstate", None) or "")
        if state == _NO_SUCH_ROW:
            return UnknownOwnerError("The worker is known no longer.", retryable=True)
        unreadable = isinstance(error, ValueError) and not isinstance(error, OSError)
        if self._connection is None and unreadable:
            # The error may show a part of the password.
            message = (
                "The address of the server cannot be read. It must look like "
                "postgresql://user:password@host:5432/database, with characters such "
                "as @ and / in a password written as %40 and %2F."
            )
            return StoreError(message)
        if self._connection is not None and has_lock:
            self._connection.terminate()
            self._connection = None
        lasting = state[:2] in _LASTING
        advice = _RIGHTS if lasting else _RUNS
        if isinstance(error, socket.gaierror):
            advice = _ESCAPE
        why = f"{type(error).__name__}: {error}"
        message = f"{self.place} cannot be used: {why}. {advice}"
        return StoreError(message, retryable=not lasting)


def place(dsn: str) -> str:
    """Return where a server is, without a word of who asks and by which password."""
    found = _DSN.fullmatch(dsn)
    return f"postgresql://{found[1]}" if found else "The PostgreSQL server"


def each_host(dsn: str) -> list[str]:
    """Return a DSN for each of the hosts that one names, in its order."""
    found = _HOSTS.fullmatch(dsn)
    if found is None:
        return [dsn]
    who, hosts, rest = found.groups()
    return [f"{who}{host}{rest}" for host in hosts.split(",")]


def _without_pgbouncer(dsn: str) -> tuple[str, bool]:
    """Take our own setting out of a DSN; return what is left, and whether it is on."""
    address, _, query = dsn.partition("?")
    settings = parse_qsl(query, keep_blank_values=True)
    left = [(name, value) for name, value in settings if name != "pgbouncer"]
    if left == settings:
        return dsn, False
    pooled = ("pgbouncer", "true") in settings
    return f"{address}?{urlencode(left)}" if left else address, pooled


async def _make_tables(connection: _Connection) -> None:
    # The server remembers that there were none, so after the lock it is no use to ask.
    with contextlib.suppress(asyncpg.DuplicateTableError):
        async with connection.transaction():
            await connection.execute(f"select pg_advisory_xact_lock({SCHEMA_LOCK})")
            await connection.execute(SCHEMA)
