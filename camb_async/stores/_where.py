"""Choose a store by where it is: a file, or a database server."""

from __future__ import annotations

import os

from ._postgres import PostgresStore
from ._sqlite import SqliteStore


def store_at(where: str | os.PathLike[str]) -> SqliteStore | PostgresStore:
    """Return the store that a setting names, for ``async with``.

    Args:
        where: the DSN of a server, ``postgresql://...``, for a PostgresStore; any
            other text is the path of a file, for a SqliteStore.
    """
    if str(where).startswith(("postgresql://", "postgres://")):
        return PostgresStore(str(where))
    return SqliteStore(where)
