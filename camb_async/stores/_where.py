"""Choose a store by where it is: a file, or a database server."""

from __future__ import annotations

import os
import re
from typing import Final

from camb_async.errors import StoreError

from ._postgres import PostgresStore
from ._sqlite import SqliteStore


_SERVER: Final = ("postgresql://", "postgres://")
# What looks like an address with a password is not to be shown, as a path would be.
_NO_PATH: Final = re.compile(
    r"://|:.*@|^\s*$|\b(?:host|dbname|user|password)\s*=|^\s*postgres\w*[:+]",
    re.IGNORECASE,
)


def store_at(where: str | os.PathLike[str]) -> SqliteStore | PostgresStore:
    """Return the store that a setting names, for ``async with``.

    Args:
        where: the DSN of a server, ``postgresql://...``, for a PostgresStore; the path
            of a file, for a SqliteStore.

    Raises:
        StoreError: a text is empty, or looks like an address and is no such DSN. It is
            not shown; a path that looks like that may begin with ``./``.
    """
    if isinstance(where, str):
        if where.startswith(_SERVER):
            return PostgresStore(where)
        if not where.startswith(("/", ".")) and _NO_PATH.search(where):
            message = (
                "A store must be the path of a file, or the address of a server, "
                "postgresql://user:password@host/database (a path that looks "
                "otherwise may begin with ./)."
            )
            raise StoreError(message)
    return SqliteStore(where)
