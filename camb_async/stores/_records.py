"""Between the values of a store and the rows of PostgreSQL.

Times leave and enter as ages, since the server's clock is the one that counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from camb_async.kinds import TaskKind
from camb_async.models import TaskRef, Transition

from ._forms import error_text, read_state, read_transition, reading, state_text
from ._ledger import StoredTask


#: A row of asyncpg, whose columns have names.
Row = Any


def columns(transitions: Sequence[Transition], now: float) -> list[list[Any]]:
    """Return transitions as the columns of a record, at this time (wall clock)."""
    rows = [
        (
            *(t.key or ("", 0)),
            t.is_final,
            t.previous,
            state_text(t.state),
            error_text(t.error),
            max(0.0, now - t.at.timestamp()),
            t.elapsed,
            t.uncertainty,
            t.polls,
        )
        for t in transitions
    ]
    return [list(column) for column in zip(*rows, strict=True)]


@reading("The store")
def stored_task(row: Row, now: float) -> StoredTask:
    """Return what is known of a task that was claimed at this time (wall clock).

    Raises:
        StoreError: it cannot be read.
    """
    left, last_age = row["seconds_left"], row["last_age"]
    return StoredTask(
        watch=row["watch"].hex,
        task=_ref(row),
        context=json.loads(row["context"]),
        added=now - row["age"],
        deadline_at=None if left is None else now + left,
        last_state=read_state(row["last_state"]),
        last_at=None if last_age is None else now - last_age,
        polls=row["polls"],
        seq=row["seq"],
        claims=row["attempts"],
    )


@reading("The store")
def transition(row: Row) -> Transition:
    """Return a transition that was recorded.

    Raises:
        StoreError: it cannot be read.
    """
    return read_transition(row, _ref(row), row["watch"].hex, row["at"])


def _ref(row: Row) -> TaskRef:
    return TaskRef(row["task_id"], TaskKind(row["kind"]), row["created"])
