"""Any story of a store, beside a model that knows only what a store promises.

Workers come and go, claim and record, also what they hold no more; readers are
handed out transitions, acknowledge them or give them back; the store is closed and
opened again, or is left by a process that dies. The model is a few dicts. One
machine plays with each store; where several processes may share one, with two.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import asyncpg
import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from camb_async import (
    PostgresStore,
    SqliteStore,
    StoredTask,
    TaskParkedError,
    TaskState,
    TaskStore,
    Transition,
    work,
)
from camb_async.stores._statements import (
    PARK_AFTER,
    REAP,
    SUSPECT_AFTER,
    SUSPECTS,
)

from .fakes import FakeStatusSource
from .helpers import SOON, run
from .memory_store import MemoryStore
from .storing import told


ResultT = TypeVar("ResultT")

slow = partial(pytest.param, marks=(pytest.mark.slow, pytest.mark.timeout(300)))

NAMES = st.sampled_from(("a", "b", "c"))
WHICH = st.sampled_from((0, 1))
STATUS = st.sampled_from(("PENDING", "QUEUED", "SUCCESS", "ERROR"))
STATUSES = st.lists(STATUS, min_size=1, max_size=3)

Key = tuple[str, int]
#: Of which task a transition is, its status, and the class of its error.
Told = tuple[str, str | None, type[Exception] | None]


@attrs.define
class Watched:
    """What the model knows of one watch, whose name it learns at the first claim."""

    context: int
    watch: str | None = None
    owner: str | None = None
    seq: int = 0
    last: TaskState | None = None
    claims: int = 0


@attrs.define
class Reader:
    """What a store has read, and what of it is in the hands of a reader."""

    ready: list[Key] = attrs.field(factory=list[Key])
    handed_out: list[Transition] = attrs.field(factory=list[Transition])

    def has(self, key: Key) -> bool:
        """Return whether nobody else may have a transition."""
        return key in self.ready or any(t.key == key for t in self.handed_out)


class StoreMachine(RuleBasedStateMachine):
    """Two workers and a reader on each store; both may have the same one."""

    def __init__(self, *stores: TaskStore) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stores = stores
        self.readers = [Reader() for _ in stores]
        #: In the order in which they were added.
        self.watched: dict[str, Watched] = {}
        #: What is not acknowledged, and what it tells.
        self.events: dict[Key, Told] = {}
        self.names: dict[str, str] = {}
        self.finals: list[str] = []
        self.owners = ["", ""]
        self.to_hear: dict[str, list[str]] = {}
        self.held: dict[str, StoredTask] = {}
        for store in stores:
            self.run(store.__aenter__())
        for which in (0, 1):
            self._join(which)

    def run(self, main: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a call to its end."""
        return self.runner.run(main)

    def teardown(self) -> None:
        """See that nothing is lost, and leave nothing behind."""
        try:
            for place in range(len(self.stores)):
                self.restart(place)
            self.deliver(0, 1000)
        finally:
            for store in self.stores:
                self.run(store.__aexit__(None, None, None))
            self.clear()
            self.runner.close()

    def clear(self) -> None:
        """Remove what the store kept."""

    def _place(self, which: int) -> int:
        return which % len(self.stores)

    def _store(self, which: int) -> TaskStore:
        return self.stores[self._place(which)]

    def _join(self, which: int) -> None:
        self.owners[which] = owner = uuid4().hex
        self.to_hear[owner] = []
        self.run(self._store(which).join(owner))

    @initialize(context=st.integers(), limit=st.integers(1, 3))
    def begin(self, context: int, limit: int) -> None:
        """Begin where something may happen."""
        for name in "abc":
            self.add(0, name, context)
        self.claim(1, limit)

    @rule(which=WHICH, name=NAMES, context=st.integers())
    def add(self, which: int, name: str, context: int) -> None:
        """Add a task, which changes nothing if it is watched."""
        new = name not in self.watched
        assert int(new) == self.run(self._store(which).add(name, context=context))
        if new:
            self.watched[name] = Watched(context)

    @rule(which=WHICH, name=NAMES)
    def discard(self, which: int, name: str) -> None:
        """Forget a task and what is undelivered of it."""
        watched = name in self.watched
        assert watched == self.run(self._store(which).discard(name))
        known = self.watched.pop(name, None)
        if known is not None and known.owner is not None and known.watch is not None:
            self.to_hear[known.owner].append(known.watch)
        gone = {key for key, (task, *_) in self.events.items() if task == name}
        self.events = {k: v for k, v in self.events.items() if k not in gone}
        # What another process has read already, it delivers.
        mine = self.readers[self._place(which)]
        mine.ready = [key for key in mine.ready if self.names[key[0]] != name]
        for reader in self.readers:
            reader.handed_out = [t for t in reader.handed_out if t.key not in gone]

    @rule(which=WHICH)
    def hear(self, which: int) -> None:
        """Whoever holds what is discarded hears of it once, with a sign of life."""
        owner = self.owners[which]
        assert self.run(self._store(which).beat(owner))
        dropped = self.run(self._store(which).dropped(owner))
        expected, self.to_hear[owner] = self.to_hear[owner], []
        assert sorted(expected) == sorted(dropped)

    @precondition(lambda self: self.free())
    @rule(which=WHICH, limit=st.integers(1, 3))
    def claim(self, which: int, limit: int) -> None:
        """Claim what is free, the oldest first."""
        owner = self.owners[which]
        expected = self._to_claim(owner, limit)
        stored = self.run(self._store(which).claim(owner, limit))
        assert expected == [each.task.task_id for each in stored]
        for each in stored:
            known = self.watched[each.task.task_id]
            known.claims = self._claims(known)
            assert known.owner is None
            assert (known.watch or each.watch) == each.watch
            assert (known.seq, known.last) == (each.seq, each.last_state)
            assert (known.context, known.claims) == (each.context, each.claims)
            known.watch, known.owner = each.watch, owner
            self.held[each.watch] = each

    def free(self) -> dict[str, Watched]:
        """Return what nobody holds."""
        return {n: each for n, each in self.watched.items() if each.owner is None}

    def _to_claim(self, owner: str, limit: int) -> list[str]:
        """Return what a worker is to be given."""
        del owner
        return list(self.free())[:limit]

    def _claims(self, known: Watched) -> int:
        """Return how often a task was claimed without being polled, this time too."""
        del known
        return 1

    @precondition(lambda self: self.is_held())
    @rule(data=st.data(), said=STATUSES, again=st.booleans())
    def record(self, data: st.DataObject, said: list[str], *, again: bool) -> None:
        """Record what is held; the same call may be made twice."""
        held = [each for each in self.watched.values() if each.owner]
        known = data.draw(st.sampled_from(held))
        owner, stored = known.owner or "", self.held[known.watch or ""]
        store = self._store(self.owners.index(owner))
        transitions = list(_up_to_the_final(stored, known.seq + 1, said))
        assert [] == self.run(store.record(owner, transitions))
        for each in transitions:
            self._take_down(known, each)
        if again:
            refused = self.run(store.record(owner, transitions))
            assert ({stored.watch} & set(self.finals)) == set(refused)

    @precondition(lambda self: self.held)
    @rule(which=WHICH, data=st.data(), status=STATUS, seq=st.integers(1, 4))
    def record_late(
        self, which: int, data: st.DataObject, status: str, seq: int
    ) -> None:
        """Record what another holds, or nobody."""
        stored = self.held[data.draw(st.sampled_from(list(self.held)))]
        known = self.watched.get(stored.task.task_id)
        owner = self.owners[which]
        if known is None or (known.watch, known.owner) != (stored.watch, owner):
            late = told(stored, status, seq)
            assert [stored.watch] == self.run(self._store(which).record(owner, [late]))

    def _take_down(self, known: Watched, transition: Transition) -> None:
        assert transition.key is not None
        watch, seq = transition.key
        self.events[watch, seq] = _told(transition)
        self.names[watch] = transition.task_id
        known.seq, known.last, known.claims = seq, transition.state, 0
        if transition.is_final:
            self._end(transition.task_id, watch)

    def _end(self, name: str, watch: str) -> None:
        del self.watched[name]
        self.finals.append(watch)

    def is_held(self) -> bool:
        """Return whether anything is in the hands of a worker."""
        return any(each.owner for each in self.watched.values())

    def is_read(self) -> bool:
        """Return whether anything is in the hands of a reader."""
        return any(reader.handed_out for reader in self.readers)

    @precondition(lambda self: self.is_held())
    @rule(which=WHICH, of_all=st.booleans())
    def survive(self, which: int, *, of_all: bool) -> None:
        """Say of what is held that it was polled; of what others hold, too."""
        owner = self.owners[which]
        mine = [
            each
            for each in self.watched.values()
            if each.owner == owner or (of_all and each.owner)
        ]
        watches = [each.watch for each in mine if each.watch]
        assert self.run(self._store(which).survived(owner, watches))
        for each in mine:
            each.claims = 0

    @precondition(lambda self: self.is_held())
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        """Let a worker leave, and come again under another name."""
        owner = self.owners[which]
        self.run(self._store(which).release(owner))
        assert not self.run(self._store(which).beat(owner))
        for each in self.watched.values():
            if each.owner == owner:
                each.owner, each.claims = None, max(0, each.claims - 1)
        self._join(which)

    @rule(which=WHICH, limit=st.integers(1, 4))
    def deliver(self, which: int, limit: int) -> None:
        """Hand out what nobody has, oldest first, each task's in order."""
        reader = self.readers[self._place(which)]
        if len(reader.ready) < limit:
            reader.ready += [
                key for key in self.events if not any(r.has(key) for r in self.readers)
            ]
        delivered = self.run(self._store(which).deliver(limit))
        assert reader.ready[:limit] == [t.key for t in delivered]
        for each in delivered:
            assert self.events.get(each.key or ("", 0), _told(each)) == _told(each)
        del reader.ready[:limit]
        reader.handed_out += delivered

    @precondition(lambda self: self.is_read())
    @rule(which=WHICH, count=st.integers(1, 4))
    def ack(self, which: int, count: int) -> None:
        """Be done with the first that were handed out."""
        reader = self.readers[self._place(which)]
        done, reader.handed_out = reader.handed_out[:count], reader.handed_out[count:]
        self.run(self._store(which).ack(done))
        for each in done:
            self.events.pop(each.key or ("", 0), None)

    @precondition(lambda self: self.is_read())
    @rule(which=WHICH)
    def requeue(self, which: int) -> None:
        """Give all of it back."""
        reader = self.readers[self._place(which)]
        given_back, reader.handed_out = reader.handed_out, []
        self._store(which).requeue(given_back)
        reader.ready[:0] = [each.key for each in given_back if each.key]

    @precondition(lambda self: self.is_held() or self.is_read())
    @rule(which=WHICH)
    def restart(self, which: int) -> None:
        """Close a store and open it again; its workers are dead by then."""
        place = self._place(which)
        self.run(self.stores[place].__aexit__(None, None, None))
        self.readers[place] = Reader()
        lost = [w for w in (0, 1) if self._place(w) == place]
        self._die(*(self.owners[w] for w in lost))
        self.run(self.stores[place].__aenter__())
        for each in lost:
            self._join(each)

    def _die(self, *owners: str) -> None:
        """Take note of workers that are there no more."""
        for each in self.watched.values():
            if each.owner in owners:
                each.owner = None

    @invariant()
    def as_many_are_watched_as_were_added_and_have_not_ended(self) -> None:
        """One final per watch, which is the end of it."""
        assert len(set(self.finals)) == len(self.finals)
        watching = self.run(self._store(0).watching())
        assert len(self.watched) == watching


def _told(transition: Transition) -> Told:
    error = transition.error
    return transition.task_id, transition.status, type(error) if error else None


def _up_to_the_final(
    stored: StoredTask, seq: int, said: Iterable[str]
) -> Iterable[Transition]:
    for number, status in enumerate(said, seq):
        transition = told(stored, status, number)
        yield transition
        if transition.is_final:
            return


class SqliteMachine(StoreMachine):
    """One file, in a directory of its own."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        super().__init__(SqliteStore(self.directory / "voices.db"))

    def clear(self) -> None:
        """Remove the file."""
        shutil.rmtree(self.directory)


EVENTS = "select count(*) from camb_event"
BURY = "delete from camb_worker where id = any($1::uuid[])"
BURY_READER = """
delete from camb_worker where id = (
    select reader from camb_event where watch = $1 and seq = $2)
"""


class FleetMachine(StoreMachine):
    """Two stores of one database, as two processes have them.

    Here workers die one by one, and what ends too many of them is parked.
    """

    def __init__(self, dsn: str) -> None:
        self.asked: dict[str, int] = {}
        # Nobody dies of a busy machine.
        super().__init__(*(PostgresStore(dsn, lease=3600.0) for _ in range(2)))
        self.admin = self.run(asyncpg.connect(dsn))

    def clear(self) -> None:
        """Empty the tables."""
        for table in ("event", "dropped", "task", "worker"):
            self.run(self.admin.execute(f"delete from camb_{table}"))  # noqa: S608
        self.run(self.admin.close())

    @precondition(lambda self: self.is_held())
    @rule(which=WHICH)
    def die(self, which: int) -> None:
        """Declare a worker dead; it is told, and gets and writes nothing."""
        owner = self.owners[which]
        self._die(owner)
        assert [] == self.run(self._store(which).claim(owner, 3))
        assert [] == self.run(self._store(which).dropped(owner))
        assert not self.run(self._store(which).beat(owner))
        self._join(which)

    @precondition(lambda self: self.is_read())
    @rule(which=WHICH)
    def reader_dies(self, which: int) -> None:
        """Declare a reader dead: others get what it has read and not acknowledged."""
        place = self._place(which)
        mine = [key for key in self.events if self.readers[place].has(key)]
        if not mine:
            return
        self.run(self._bury_the_reader_of(*mine[0]))
        self.readers[place] = Reader()
        self.deliver(1 - place, 1000)
        self.restart(place)

    async def _bury_the_reader_of(self, watch: str, seq: int) -> None:
        # What it has acknowledged is forgotten before long, and never comes again.
        async with asyncio.timeout(10):
            while len(self.events) < await self.admin.fetchval(EVENTS):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await self.admin.execute(BURY_READER, watch, seq)

    def _die(self, *owners: str) -> None:
        self.run(self._bury(owners))
        super()._die(*owners)
        ended = [n for n, each in self.free().items() if each.claims >= PARK_AFTER]
        for name in ended:
            known = self.watched[name]
            assert known.watch is not None
            status = known.last.status if known.last else None
            self.events[known.watch, known.seq + 1] = name, status, TaskParkedError
            self.names[known.watch] = name
            self._end(name, known.watch)

    async def _bury(self, owners: Sequence[str]) -> None:
        # At once, so that no store of ours looks in between.
        async with self.admin.transaction():
            await self.admin.execute(BURY, owners)
            await self.admin.execute(REAP, "%s %s")

    def _to_claim(self, owner: str, limit: int) -> list[str]:
        self.asked[owner] = asked = self.asked.get(owner, 0) + 1
        mine = [each for each in self.watched.values() if each.owner == owner]
        if any(each.claims > SUSPECT_AFTER for each in mine):
            return []
        free = self.free()
        suspects = [n for n, each in free.items() if each.claims >= SUSPECT_AFTER]
        others = [n for n in free if n not in suspects]
        if not suspects or (others and asked % 4):
            return others[:limit]
        suspects.sort(key=lambda name: -free[name].claims)
        if free[suspects[0]].claims > SUSPECT_AFTER:
            return suspects[:1]
        return suspects[: min(limit, SUSPECTS)]

    def _claims(self, known: Watched) -> int:
        return known.claims + 1


def play(machine: Callable[[], StoreMachine], examples: int) -> None:
    """Play so many stories."""
    run_state_machine_as_test(
        # Whatever makes one will do, as its documentation says.
        cast("type[StoreMachine]", machine),
        settings=settings(max_examples=examples, stateful_step_count=40, deadline=None),
    )


@pytest.mark.parametrize("examples", [30, slow(300)])
def test_any_story_of_a_store_in_memory(examples: int) -> None:
    """Which is one that anybody could have written."""
    play(lambda: StoreMachine(MemoryStore()), examples)


@pytest.mark.parametrize("examples", [20, slow(200)])
def test_any_story_of_a_file(examples: int) -> None:
    """One process, which may die and come again."""
    play(SqliteMachine, examples)


@pytest.mark.parametrize("examples", [8, slow(150)])
def test_any_story_of_a_fleet(dsn: str, examples: int) -> None:
    """Two processes, and workers and readers that die one by one."""
    play(partial(FleetMachine, dsn), examples)


def test_a_store_of_ones_own_works() -> None:
    """The worker and the readers need no more than the protocol says."""
    story = ["PENDING", "QUEUED", "SUCCESS"]
    source = FakeStatusSource(dict.fromkeys("ab", story))

    async def main() -> list[str]:
        async with MemoryStore() as store, asyncio.TaskGroup() as group:
            await store.add(list("ab"), context=1)
            group.create_task(work(source, store, schedule=SOON, until_empty=True))
            transitions = store.transitions(until_empty=True)
            return [t.state.raw_status async for t in transitions if t.state]

    assert sorted(story * 2) == sorted(run(main()))
