"""Any story of a store, beside a model that knows only what a store promises.

Workers come and go, claim and record, also what they hold no more; readers are
handed out transitions, acknowledge them or give them back; the store is closed and
opened again, or is left by a process that dies. The model is a few dicts.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from camb_async import SqliteStore, StoredTask, TaskState, Transition

from .fakes import state
from .storing import told


ResultT = TypeVar("ResultT")

NAMES = st.sampled_from(("a", "b", "c"))
OWNERS = st.sampled_from((0, 1))
STATUSES = st.sampled_from(("PENDING", "QUEUED", "SUCCESS", "ERROR"))

Key = tuple[str, int]


@attrs.define
class Watched:
    """What the model knows of one watch."""

    task_id: str
    context: int
    owner: str | None = None
    seq: int = 0
    last: TaskState | None = None


class StoreMachine(RuleBasedStateMachine):
    """One store, two workers, one reader."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.store = SqliteStore(self.directory / "voices.db")
        self.run(self.store.__aenter__())
        self.tasks: dict[str, int] = {}
        self.watched: dict[str, Watched] = {}
        self.events: dict[Key, str] = {}
        self.handed_out: list[Transition] = []
        self.finals: dict[str, int] = {}
        self.names = 0
        self.owners = ["", ""]
        self.held: dict[str, StoredTask] = {}
        for which in (0, 1):
            self._join(which)

    def run(self, main: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a call to its end."""
        return self.runner.run(main)

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.run(self.store.__aexit__(None, None, None))
        self.runner.close()
        shutil.rmtree(self.directory)

    def _join(self, which: int) -> None:
        self.names += 1
        self.owners[which] = f"owner-{self.names}"
        self.run(self.store.join(self.owners[which]))

    def _watch_of(self, task_id: str) -> str | None:
        found = [w for w, each in self.watched.items() if each.task_id == task_id]
        return found[0] if found else None

    @rule(name=NAMES, context=st.integers())
    def add(self, name: str, context: int) -> None:
        """Add a task; the model learns the name of its watch when it is claimed."""
        new = self._watch_of(name) is None and name not in self.tasks
        assert int(new) == self.run(self.store.add(name, context=context))
        if new:
            self.tasks[name] = context

    @rule(name=NAMES)
    def discard(self, name: str) -> None:
        """Forget a task; whoever holds it hears of it, once."""
        watch = self._watch_of(name)
        watched = watch is not None or name in self.tasks
        assert watched == self.run(self.store.discard(name))
        self.tasks.pop(name, None)
        mine = self.watched.pop(watch).owner if watch is not None else None
        for owner in self.owners:
            expected = [watch] if mine == owner else []
            assert expected == self.run(self.store.dropped(owner))
        self.events = {k: v for k, v in self.events.items() if v != name}
        self.handed_out = [t for t in self.handed_out if t.task_id != name]

    @rule(which=OWNERS, limit=st.integers(1, 3))
    def claim(self, which: int, limit: int) -> None:
        """Claim what is free, which is what the model says."""
        free = sum(each.owner is None for each in self.watched.values())
        stored = self.run(self.store.claim(self.owners[which], limit))
        assert min(limit, free + len(self.tasks)) == len(stored)
        for each in stored:
            name = each.task.task_id
            if name in self.tasks:
                assert each.watch not in self.watched
                self.watched[each.watch] = Watched(name, self.tasks.pop(name))
            known = self.watched[each.watch]
            assert known.owner is None
            assert (known.seq, known.last) == (each.seq, each.last_state)
            assert known.context == each.context
            known.owner = self.owners[which]
            self.held[each.watch] = each

    @precondition(lambda self: self.held)
    @rule(which=OWNERS, data=st.data(), status=STATUSES, again=st.booleans())
    def record(
        self, which: int, data: st.DataObject, status: str, *, again: bool
    ) -> None:
        """Record a change of what is held, or was; the same call may be made twice."""
        stored = self.held[data.draw(st.sampled_from(list(self.held)))]
        known = self.watched.get(stored.watch)
        seq = 1 + (known.seq if known else data.draw(st.integers(0, 3)))
        owner = self.owners[which]
        mine = known is not None and known.owner == owner
        transition = told(stored, status, seq)
        refused = self.run(self.store.record(owner, [transition]))
        assert ([] if mine else [stored.watch]) == refused
        if known is None or not mine:
            return
        self.events[stored.watch, seq] = stored.task.task_id
        known.seq, known.last = seq, state(status)
        if transition.is_final:
            del self.watched[stored.watch]
            self.finals[stored.watch] = self.finals.get(stored.watch, 0) + 1
        if again:
            self.run(self.store.record(owner, [transition]))

    @rule(which=OWNERS)
    def release(self, which: int) -> None:
        """Let a worker leave, and come again under another name."""
        owner = self.owners[which]
        self.run(self.store.release(owner))
        assert not self.run(self.store.beat(owner))
        self._free(owner)
        self._join(which)

    def _free(self, *owners: str) -> None:
        for each in self.watched.values():
            if each.owner in owners:
                each.owner = None

    @rule(limit=st.integers(1, 4))
    def deliver(self, limit: int) -> None:
        """Hand out what nobody has, oldest first, each task's in order."""
        out = {t.key for t in self.handed_out}
        waiting = [key for key in self.events if key not in out]
        delivered = self.run(self.store.deliver(limit))
        assert waiting[:limit] == [t.key for t in delivered]
        self.handed_out += delivered

    @precondition(lambda self: self.handed_out)
    @rule(count=st.integers(1, 4))
    def ack(self, count: int) -> None:
        """Be done with the first that were handed out."""
        done, self.handed_out = self.handed_out[:count], self.handed_out[count:]
        self.run(self.store.ack(done))
        for transition in done:
            del self.events[transition.key or ("", 0)]

    @precondition(lambda self: self.handed_out)
    @rule()
    def requeue(self) -> None:
        """Give all of it back."""
        given_back, self.handed_out = self.handed_out, []
        self.store.requeue(given_back)

    @rule(dies=st.booleans())
    def restart(self, *, dies: bool) -> None:
        """Close the store and open it again; workers may have left, or not."""
        if not dies:
            for owner in self.owners:
                self.run(self.store.release(owner))
        self.run(self.store.__aexit__(None, None, None))
        self.run(self.store.__aenter__())
        self.handed_out = []
        self._free(*self.owners)
        for which in (0, 1):
            self._join(which)

    @invariant()
    def no_watch_ends_twice(self) -> None:
        """One final per watch, and as many are watched as the model says."""
        assert all(count == 1 for count in self.finals.values())
        watching = self.run(self.store.watching())
        assert len(self.watched) + len(self.tasks) == watching


StoreMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
TestStore = StoreMachine.TestCase
