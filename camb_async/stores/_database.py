"""The statements of the SQLite store, and the file that they are made on.

The only module that knows sqlite3; all of it runs in the store's one thread, which
is also what loads it. Each method is a job: part of a transaction that may be rolled
back and made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from camb_async.errors import StoreError
from camb_async.kinds import TaskKind
from camb_async.models import TaskRef, Transition

from ._forms import error_text, read_state, read_transition, reading, state_text
from ._ledger import StoredTask


#: "CAMB", by which the file is known to be ours.
APPLICATION_ID: Final = 0x43414D42
VERSION: Final = 1

_SCHEMA: Final = """
create table camb_worker(id text primary key);
create table camb_task(
    watch text primary key, kind text not null, task_id text not null, created text,
    context text not null, added real not null, deadline_at real,
    last_state text, last_at real, polls integer not null default 0,
    seq integer not null default 0,
    owner text references camb_worker on delete set null,
    unique(kind, task_id));
create index camb_task_free on camb_task(added) where owner is null;
create index camb_task_owner on camb_task(owner) where owner is not null;
create table camb_dropped(
    watch text primary key,
    owner text not null references camb_worker on delete cascade);
create index camb_dropped_owner on camb_dropped(owner);
create table camb_event(
    id integer primary key autoincrement, watch text not null, seq integer not null,
    kind text not null, task_id text not null, created text, context text not null,
    final integer not null, previous text, state text, error text, at text not null,
    elapsed real not null, uncertainty real, polls integer not null,
    unique(watch, seq));
create index camb_event_task on camb_event(kind, task_id);
"""

# What may pass: somebody else's lock, no room or memory, a disk that fails.
_PASSING: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}
#: Seconds to wait for a lock that somebody else has, a shell or a backup.
_LOCK_PATIENCE: Final = 2.0

NewTask = tuple[str, TaskRef, str, float, float | None]


class Database:
    """An open file, held by this process alone.

    Raises:
        StoreError: the file cannot be opened, is held, or is not ours.
    """

    def __init__(self, path: Path) -> None:
        # Whoever comes by a link finds the same lock.
        self._path = path.resolve()
        self._lock = _held(self._path)
        try:
            with self._refusing():
                self._connection = _opened(self._path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close the file and let others have it."""
        try:
            with self._refusing():
                self._connection.close()
        finally:
            os.close(self._lock)

    def commit(self, jobs: Sequence[Callable[[Database], object]]) -> list[object]:
        """Do jobs in one transaction; return what each returned or raised.

        If one of them fails, each is done again in a transaction of its own.
        """
        try:
            with self._refusing(), _transaction(self._connection):
                return [job(self) for job in jobs]
        except Exception as error:  # noqa: BLE001 - whoever ordered the job gets it
            if len(jobs) == 1:
                return [error]
        return [outcome for job in jobs for outcome in self.commit([job])]

    # Jobs of programs.

    def add(self, tasks: Iterable[NewTask]) -> int:
        """Insert tasks that are not watched; return how many."""
        cursor = self._connection.executemany(
            "insert into camb_task(watch, kind, task_id, created, context, added, "
            "deadline_at) values (?, ?, ?, ?, ?, ?, ?) "
            "on conflict(kind, task_id) do nothing",
            [
                (watch, ref.kind.value, ref.task_id, _created(ref), context, added, end)
                for watch, ref, context, added, end in tasks
            ],
        )
        return cursor.rowcount

    def discard(self, task: TaskRef) -> bool:
        """Delete a task and its events; have its holder told."""
        key = (task.kind.value, task.task_id)
        run = self._connection.execute
        run("delete from camb_event where kind = ? and task_id = ?", key)
        run(
            "insert into camb_dropped(watch, owner) select watch, owner from camb_task "
            "where kind = ? and task_id = ? and owner is not null",
            key,
        )
        cursor = run("delete from camb_task where kind = ? and task_id = ?", key)
        return cursor.rowcount > 0

    def watching(self) -> int:
        """Count the tasks."""
        (count,) = self._connection.execute("select count(*) from camb_task").fetchone()
        return int(count)

    # Jobs of workers.

    def join(self, owner: str) -> None:
        """Insert a worker."""
        self._connection.execute(
            "insert or ignore into camb_worker(id) values (?)", (owner,)
        )

    def claim(self, owner: str, limit: int) -> list[StoredTask]:
        """Give a worker the oldest tasks that nobody holds, if it is known still."""
        if not self.knows(owner):
            return []
        rows = self._connection.execute(
            "select * from camb_task where owner is null order by added, rowid limit ?",
            (limit,),
        ).fetchall()
        self._connection.executemany(
            "update camb_task set owner = ? where watch = ?",
            [(owner, row["watch"]) for row in rows],
        )
        with reading(str(self._path)):
            return [_stored_task(row) for row in rows]

    def dropped(self, owner: str) -> list[str]:
        """Return and forget what a worker is to hear of."""
        rows = self._connection.execute(
            "select watch from camb_dropped where owner = ?", (owner,)
        ).fetchall()
        if rows:
            self._connection.execute(
                "delete from camb_dropped where owner = ?", (owner,)
            )
        return [watch for (watch,) in rows]

    def record(self, owner: str, transitions: Iterable[Transition]) -> list[str]:
        """Write transitions down; return the watches that are not the worker's."""
        refused: dict[str, None] = {}
        for transition in transitions:
            watch, seq = transition.key or ("", 0)
            if self._insert(owner, watch, seq, transition):
                self._advance(watch, seq, transition)
            elif not self._holds(owner, watch):
                refused[watch] = None
        return list(refused)

    def _insert(self, owner: str, watch: str, seq: int, t: Transition) -> bool:
        # The order of the numbers is checked here: none is left out or comes twice.
        cursor = self._connection.execute(
            "insert into camb_event(watch, seq, kind, task_id, created, context, "
            "final, previous, state, error, at, elapsed, uncertainty, polls) "
            "select watch, ?, kind, task_id, created, context, ?, ?, ?, ?, ?, ?, ?, ? "
            "from camb_task where watch = ? and owner = ? and seq = ?",
            (
                seq,
                t.is_final,
                t.previous,
                state_text(t.state),
                error_text(t.error),
                t.at.isoformat(),
                t.elapsed,
                t.uncertainty,
                t.polls,
                watch,
                owner,
                seq - 1,
            ),
        )
        return cursor.rowcount > 0

    def _advance(self, watch: str, seq: int, t: Transition) -> None:
        if t.is_final:
            self._connection.execute("delete from camb_task where watch = ?", (watch,))
            return
        self._connection.execute(
            "update camb_task set last_state = ?, last_at = ?, polls = ?, seq = ? "
            "where watch = ?",
            (state_text(t.state), t.at.timestamp(), t.polls, seq, watch),
        )

    def _holds(self, owner: str, watch: str) -> bool:
        cursor = self._connection.execute(
            "select 1 from camb_task where watch = ? and owner = ?", (watch, owner)
        )
        return cursor.fetchone() is not None

    def knows(self, owner: str) -> bool:
        """Return whether a worker is there."""
        cursor = self._connection.execute(
            "select 1 from camb_worker where id = ?", (owner,)
        )
        return cursor.fetchone() is not None

    def release(self, owner: str) -> None:
        """Delete a worker; its tasks are free by that."""
        self._connection.execute("delete from camb_worker where id = ?", (owner,))

    # Jobs of readers.

    def events_after(self, event: int, limit: int) -> list[tuple[int, Transition]]:
        """Return the events after this one, each with its number."""
        rows = self._connection.execute(
            "select * from camb_event where id > ? order by id limit ?", (event, limit)
        )
        with reading(str(self._path)):
            return [(row["id"], _transition(row)) for row in rows]

    def ack(self, keys: Iterable[tuple[str, int]]) -> None:
        """Delete events."""
        self._connection.executemany(
            "delete from camb_event where watch = ? and seq = ?", keys
        )

    @contextlib.contextmanager
    def _refusing(self) -> Generator[None]:
        """Raise what sqlite3 raises as a StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _PASSING:
                message = (
                    f"{self._path} cannot be used at the moment: {error}. Look for "
                    "room on the disk, and for whoever else has the file open."
                )
                raise StoreError(message, retryable=True) from error
            message = (
                f"{self._path} cannot be used: {error}. If it is a store, put a copy "
                "of it in its place; if it is not, pass another path."
            )
            raise StoreError(message) from error


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        # A full disk has made SQLite roll back by itself.
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _held(path: Path) -> int:
    """Return the lock that keeps other processes out; the system ends it with us."""
    if path.is_dir():
        message = f"{path} is a directory: pass the path of a file in it."
        raise StoreError(message)
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        message = (
            f"{path} cannot be opened: {error}. Make its directory, or pass a path "
            "where files may be written."
        )
        raise StoreError(message) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        message = (
            f"{path} is held by process {holder or '(not known)'}. A file is for one "
            "process at a time: stop that one, or pass another path."
        )
        raise StoreError(message) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        os.close(descriptor)
        message = f"{lock} cannot be written: {error}. Look for room on the disk."
        raise StoreError(message, retryable=True) from error
    return descriptor


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_LOCK_PATIENCE, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        _check_ours(connection, path)
        connection.execute("pragma journal_mode = wal")
        # With group commits it costs little more, and outlasts a power cut.
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        with _transaction(connection):
            if not _pragma(connection, "user_version"):
                _make(connection)
            # Whoever was here before is dead, since the lock is ours.
            connection.execute("delete from camb_worker")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    application, version = (
        _pragma(connection, name) for name in ("application_id", "user_version")
    )
    if tables and application != APPLICATION_ID:
        message = f"{path} is a database of something else: pass another path."
        raise StoreError(message)
    if version > VERSION:
        message = (
            f"{path} was written by a newer camb_async (version {version} of the "
            f"file, where this one knows {VERSION}): upgrade it, or pass another path."
        )
        raise StoreError(message)


def _make(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {VERSION}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"pragma {name}").fetchone()
    return int(value)


def _created(ref: TaskRef) -> str | None:
    return None if ref.created_at is None else ref.created_at.isoformat()


def _ref(row: sqlite3.Row) -> TaskRef:
    created = row["created"]
    at = None if created is None else datetime.fromisoformat(created)
    return TaskRef(row["task_id"], TaskKind(row["kind"]), at)


def _stored_task(row: sqlite3.Row) -> StoredTask:
    return StoredTask(
        watch=row["watch"],
        task=_ref(row),
        context=json.loads(row["context"]),
        added=row["added"],
        deadline_at=row["deadline_at"],
        last_state=read_state(row["last_state"]),
        last_at=row["last_at"],
        polls=row["polls"],
        seq=row["seq"],
    )


def _transition(row: sqlite3.Row) -> Transition:
    at = datetime.fromisoformat(row["at"])
    return read_transition(row, _ref(row), row["watch"], at)
