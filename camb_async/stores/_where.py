"""Choose a store by where it is: a file, or a database server."""

from __future__ import annotations

import os

from ._sqlite import SqliteStore


def store_at(where: str | os.PathLike[str]) -> SqliteStore:
    """Return the store that a setting names, for ``async with``.

    Args:
        where: a path, for a SqliteStore.
    """
    return SqliteStore(where)
