"""Watched tasks that outlive the process: stores, and the worker between them."""

from __future__ import annotations

from ._ledger import StoredTask
from ._postgres import PostgresStore
from ._protocol import TaskStore
from ._sqlite import SqliteStore
from ._where import store_at
from ._worker import work


__all__ = [
    "PostgresStore",
    "SqliteStore",
    "StoredTask",
    "TaskStore",
    "store_at",
    "work",
]
