"""Any story of a watcher, beside a model that knows only what it promises.

The machine has a TaskWatcher watch a service of its own in virtual time. Rules
are what users do, what becomes of tasks, and what goes wrong. The model looks at
the watcher's both ends: what the service is asked, and what readers and waiters
are told. It does not know how the watcher works.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import inf
from random import Random
from typing import Any, Literal

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from camb_async import (
    APIStatusError,
    AuthenticationError,
    DeadlineExceededError,
    FixedInterval,
    Limits,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TaskError,
    TaskRef,
    TaskState,
    TaskWatcher,
    Transition,
    ValidationError,
    WatcherClosedError,
)

from .fakes import refused, state
from .virtual_time import VirtualLoop


# That nothing is left is seen from inside only.
# pyright: reportPrivateUsage=false


NAMES = ("a", "b", "c")
OWN_DEADLINE = 20.0
RETRY = RetryPolicy(backoff_initial=0.5, backoff_max=4.0, not_found_grace=3.0)
DEFINITIVE = (AuthenticationError, PermissionDeniedError, ValidationError)

# Seconds between polls, with the jitter of FixedInterval(1.0).
EARLIEST, LATEST = 0.9, 1.1
EPSILON = 1e-3
# What the agenda's grid and the steps of the clock may add.
SLACK = 0.1
# Seconds past its deadline after which a watch has ended, whatever the service does.
PATIENCE = 62.0
# Unread changes of a task are merged from the 64th on.
UNMERGED = 60

FAULTS: dict[str, Callable[[], BaseException]] = {
    "reset": refused,
    "503": lambda: ServerError("busy", status_code=503),
    "429": lambda: RateLimitError("slow down", status_code=429, retry_after=5.0),
    "404": lambda: NotFoundError("not there", status_code=404),
    "403": lambda: PermissionDeniedError("not yours", status_code=403),
    "422": lambda: ValidationError("no such id", status_code=422),
    "bug": lambda: ValueError("a bug of the source"),
    "escape": asyncio.CancelledError,
}
TRANSIENT = tuple(sorted(FAULTS.keys() - {"403", "422"}))


@attrs.define(eq=False)
class Listing:
    """One add, and what has come of it; it is the context of its transitions."""

    task_id: str
    since: float
    deadline_at: float
    story: Story
    said: list[TaskState] = attrs.field(factory=list[TaskState])
    read: list[Transition] = attrs.field(factory=list[Transition])
    dropped: bool = False
    verdict: TaskState | BaseException | None = None

    @property
    def is_read(self) -> bool:
        """Whether its final transition has been read."""
        return bool(self.read) and self.read[-1].is_final


@attrs.define(eq=False)
class Wait:
    """One caller of ``wait``."""

    task: asyncio.Task[TaskState]
    deadline_at: float
    done_at: float = inf
    cancelled: bool = False
    checked: bool = False


@attrs.define(eq=False)
class Story:
    """A task from when somebody wants to know until nobody does any more."""

    task_id: str
    not_before: float
    not_after: float
    listing: Listing | None = None
    waits: list[Wait] = attrs.field(factory=list[Wait])
    stops: list[float] = attrs.field(factory=list[float])
    polling: bool = False
    poked: bool = False
    asked_at: float = -inf
    answered_at: float = -inf
    failures: int = 0
    missing_since: float | None = None
    states: list[TaskState] = attrs.field(factory=list[TaskState])
    verdict: TaskState | BaseException | None = None

    def may_be_asked(self, now: float) -> bool:
        """Whether a poll may leave: it is due, or wanted, or somebody's last."""
        last_polls = (
            self.asked_at - EPSILON < at <= now + EPSILON for at in self.stops
        )
        return self.poked or now >= self.not_before - EPSILON or any(last_polls)

    def heard(self, answer: TaskState | BaseException, now: float) -> None:
        """Take note of what a poll came to."""
        if isinstance(answer, TaskState):
            self.failures, self.missing_since = 0, None
            self.states.append(answer)
            self.not_before, self.not_after = now + EARLIEST, now + LATEST
            self.verdict = answer if answer.is_final else None
            return
        self.failures += 1
        asked_for = getattr(answer, "retry_after", None) or 0.0
        self.not_before = now + asked_for
        self.not_after = now + max(LATEST, RETRY.backoff_max, asked_for)
        if self._is_definitive(answer, now):
            self.verdict = answer

    def _is_definitive(self, answer: BaseException, now: float) -> bool:
        if not isinstance(answer, NotFoundError):
            if isinstance(answer, APIStatusError):
                self.missing_since = None
            return isinstance(answer, DEFINITIVE)
        if self.missing_since is None:
            self.missing_since = now
        return self.missing_since + RETRY.not_found_grace <= now


@attrs.define(eq=False)
class Remote:
    """A task at the service, and what polls of it meet."""

    status: str = "PENDING"
    latency: float = 0.0
    restless: bool = False
    faults: deque[str] = attrs.field(factory=deque[str])

    def answer(self) -> TaskState | BaseException:
        """Return what the next poll is answered with."""
        if self.faults:
            return FAULTS[self.faults.popleft()]()
        if self.restless and self.status in {"PENDING", "QUEUED"}:
            self.status = "QUEUED" if self.status == "PENDING" else "PENDING"
        return state(self.status)


@attrs.define(eq=False)
class Reader:
    """A task that iterates over the watcher."""

    task: asyncio.Task[None]
    in_anext: bool = False


class Service:
    """The source of the machine's watcher, which tells the machine of each poll."""

    def __init__(self, machine: WatcherMachine, limit: int) -> None:
        self.limits = Limits(max_in_flight=limit)
        self.retry = RETRY
        self.in_flight = 0
        self.outage: str | None = None
        self.key_refused = False
        self.remotes = {name: Remote() for name in NAMES}
        self._machine = machine

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Answer as the task's remote side does, after its latency."""
        remote = self.remotes[task.task_id]
        self.in_flight += 1
        story = self._machine.asked(task.task_id)
        try:
            await asyncio.sleep(remote.latency)
        finally:
            self._machine.look_for_a_queue()
            self.in_flight -= 1
        answer = self._answer(remote)
        self._machine.answered(story, answer)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _answer(self, remote: Remote) -> TaskState | BaseException:
        if self.key_refused:
            self.key_refused = False
            return AuthenticationError("who are you?", status_code=401)
        return FAULTS[self.outage]() if self.outage else remote.answer()


names = st.sampled_from(NAMES)
deadlines = st.sampled_from((None, "own", 0.0, 0.7, 5.0, 40.0))
latencies = st.sampled_from((0.0, 0.0, 0.013, 0.4, 0.4, 3.0, 100.0))
later = st.booleans()
rarely = st.integers(0, 9).map(lambda number: number == 7)


class WatcherMachine(RuleBasedStateMachine):
    """A watcher, its users, and a service where anything may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(
            lambda _loop, told: self.complaints.append(AssertionError(str(told)))
        )
        self.complaints: list[BaseException] = []
        self.batch: list[Callable[[], object]] = []
        self.listings: list[Listing] = []
        self.stories: dict[str, Story] = {}
        self.waits: list[tuple[Wait, Story]] = []
        self.readers: list[Reader] = []
        self.ambushes: deque[tuple[int, str]] = deque()
        self.closed = self.left = False
        self.busy_until = self.jumped_at = -inf
        self.polls = self.unsure_polls = self.dropped = self.dropped_finals = 0
        self.leave: asyncio.Future[None]
        self.block: asyncio.Task[None] | None = None

    # How the machine runs the loop.

    @property
    def now(self) -> float:
        """The virtual time, in seconds."""
        return self.loop.time()

    def do(self, action: Callable[[], object], *, later: bool = False) -> None:
        """Have something done in the loop: now, or in one go with what comes next."""
        self.batch.append(action)
        if not later:
            self.run_for(0.0)

    def run_for(self, seconds: float) -> None:
        """Do what is to be done, let time pass and everything come to rest."""
        actions, self.batch = self.batch, []

        async def main() -> None:
            for action in actions:
                action()
            await asyncio.sleep(seconds)
            await asyncio.sleep(1e-6)
            for _ in range(10):
                await asyncio.sleep(0)

        self.loop.run_until_complete(main())
        self.check()

    @contextlib.contextmanager
    def noted(self) -> Generator[None]:
        """Keep what fails inside the watcher, which would take it for a failed poll."""
        try:
            yield
        except AssertionError as error:
            self.complaints.append(error)

    # What the model knows.

    def unread(self, task_id: str) -> list[Transition]:
        """Return what waits to be read of a task."""
        return list(self.watcher._engine.outbox._unread.get(TaskRef(task_id), ()))

    def told(self, listing: Listing) -> list[Transition]:
        """Return what was reported of an add, read or not."""
        unread = self.unread(listing.task_id)
        return listing.read + [t for t in unread if t.context is listing]

    def is_active(self, listing: Listing | None) -> bool:
        """Whether the iterator still wants to hear of this."""
        if listing is None or listing.dropped or listing.is_read:
            return False
        return not any(t.is_final for t in self.told(listing)[-1:])

    def current(self, task_id: str) -> Story | None:
        """Return the story of a task if anybody wants to know."""
        story = self.stories.get(task_id)
        if story is None or not (
            self.is_active(story.listing)
            or any(not wait.task.done() for wait in story.waits)
        ):
            return None
        return story

    def is_at_the_end(self) -> bool:
        """Whether the iteration should end."""
        active = any(self.is_active(story.listing) for story in self.stories.values())
        done = self.left or not (active or (self.keep_open and not self.closed))
        return done and not self.watcher._engine.outbox

    # What the service sees.

    def asked(self, task_id: str) -> Story:
        """Judge whether a poll may leave now."""
        story = self.current(task_id) or Story(task_id, 0.0, 0.0)
        with self.noted():
            assert self.current(task_id) is story, "nobody wants to know"
            assert not story.polling, "two polls of one task at once"
            assert story.may_be_asked(self.now), "too early"
            assert self.service.in_flight <= self.service.limits.max_in_flight
        story.polling, story.poked, story.asked_at = True, False, self.now
        return story

    def look_for_a_queue(self) -> None:
        """Take note of until when polls may have had to queue."""
        if self.service.in_flight == self.service.limits.max_in_flight:
            self.busy_until = self.now

    def answered(self, story: Story, answer: TaskState | BaseException) -> None:
        """Take note of an answer, and do what was to be done just then."""
        story.polling, story.answered_at = False, self.now
        if isinstance(answer, TaskState) and answer not in story.states[-1:]:
            for rounds, whom in self.ambushes:
                self.cancel_soon(rounds, whom, story)
            self.ambushes.clear()
        counts = self.current(story.task_id) is story and story.verdict is None
        if isinstance(answer, AuthenticationError):
            # It is about the key, so it counts though nobody may want the task.
            for other in self.stories.values():
                self.conclude(other, other.verdict or answer)
        if not counts:
            return
        active = self.is_active(story.listing)
        waiting = any(
            not wait.task.done() and wait.deadline_at > self.now for wait in story.waits
        )
        # Whoever gives up in this very moment may have done so already.
        self.polls += active or waiting
        self.unsure_polls += not (active or waiting)
        story.heard(answer, self.now)
        if story.listing is not None and active and isinstance(answer, TaskState):
            story.listing.said.append(answer)
        self.conclude(story, story.verdict)

    def conclude(self, story: Story, verdict: TaskState | BaseException | None) -> None:
        """Take note of how a story ends."""
        story.verdict = verdict
        if story.listing is not None and self.is_active(story.listing):
            story.listing.verdict = verdict

    def cancel_soon(self, rounds: int, whom: str, story: Story) -> None:
        """Cancel readers or waiters some rounds of the loop from now."""
        if rounds:
            self.loop.call_soon(self.cancel_soon, rounds - 1, whom, story)
        elif whom == "waiters":
            for wait in story.waits:
                wait.cancelled = wait.task.cancel() or wait.cancelled
        else:
            chosen = {
                "first": slice(1),
                "last": slice(-1, None),
                "readers": slice(None),
            }
            for reader in self.readers[chosen[whom]]:
                reader.task.cancel()

    # What the iterator's readers see.

    def record(self, transition: Transition) -> None:
        """Judge a transition by those before it."""
        listing = transition.context
        assert isinstance(listing, Listing), "the context of an add that did nothing"
        assert listing.task_id == transition.task_id
        assert not listing.dropped, "reported after a discard"
        assert not listing.is_read, "reported after the final one"
        last = listing.read[-1] if listing.read else None
        assert (last.status if last else None) == transition.previous
        if last is not None and transition.error is None:
            assert last.state != transition.state
        listing.read.append(transition)

    async def read(self, pause: float, most: int) -> None:
        """Read transitions, with a pause after each."""
        reader = next(r for r in self.readers if r.task is asyncio.current_task())
        for _ in range(most):
            reader.in_anext = True
            try:
                transition = await anext(self.watcher)
            except StopAsyncIteration:
                assert self.is_at_the_end(), "the iteration ends too early"
                return
            finally:
                reader.in_anext = False
            self.record(transition)
            if pause:
                await asyncio.sleep(pause)

    # The rules: the watcher's users.

    @initialize(
        keep_open=st.booleans(),
        limit=st.sampled_from((1, 2, 8)),
        ending=st.sampled_from(("drain", "drain", "leave", "raise", "cancel")),
        latency=latencies,
        seed=st.integers(0, 999),
    )
    def enter(
        self,
        *,
        keep_open: bool,
        limit: int,
        ending: Literal["drain", "leave", "raise", "cancel"],
        latency: float,
        seed: int,
    ) -> None:
        """Enter the block in a task of its own, which also leaves it."""
        self.keep_open, self.ending = keep_open, ending
        self.service = Service(self, limit)
        for remote in self.service.remotes.values():
            remote.latency = latency
        self.watcher = TaskWatcher(
            self.service,
            schedule=FixedInterval(1.0, random=Random(seed)),
            deadline=OWN_DEADLINE,
            keep_open=keep_open,
        )

        async def live() -> None:
            async with self.watcher:
                await self.leave

        self.leave = self.loop.create_future()
        self.block = self.loop.create_task(live())
        self.run_for(0.0)
        self.watcher._engine._random = Random(seed)  # so that a story can be told again

    @rule(
        task_id=names,
        deadline=deadlines,
        age=st.sampled_from((None, None, 0.0, 0.5, 100.0)),
        later=later,
    )
    def add(
        self,
        *,
        task_id: str,
        deadline: float | Literal["own"] | None,
        age: float | None,
        later: bool,
    ) -> None:
        """Add a task: new, watched already, waited for, or finished."""
        self.do(lambda: self._add(task_id, deadline, age), later=later)

    def _add(
        self, task_id: str, deadline: float | Literal["own"] | None, age: float | None
    ) -> None:
        story = self.current(task_id)
        now, began = self.now, datetime.now(UTC) - timedelta(seconds=age or 0.0)
        seconds = OWN_DEADLINE if deadline == "own" else deadline
        stop = now + (inf if seconds is None else seconds)
        options: dict[str, Any] = {} if deadline == "own" else {"deadline": seconds}
        if age is not None:
            options["started_at"] = began
        context: Listing | None = None
        first = story or Story(task_id, now, now + LATEST)
        if not self.is_active(first.listing):
            context = Listing(task_id, now, stop, first)
            context.said += first.states[-1:]
        if self.closed:
            with pytest.raises(WatcherClosedError):
                self.watcher.add(task_id, context=context, **options)
            return
        self.watcher.add(task_id, context=context, **options)
        if context is None:
            return
        if story is None and age is not None:
            oldest = (datetime.now(UTC) - began).total_seconds()
            first.not_before = now + max(0.0, EARLIEST - oldest)
            first.not_after = now + max(0.0, LATEST - age)
        first.listing = context
        first.stops.append(stop)
        self.stories[task_id] = first
        self.listings.append(context)

    @rule(task_id=names, later=later)
    def discard(self, *, task_id: str, later: bool) -> None:
        """Discard a task, watched or not."""
        self.do(lambda: self._discard(task_id), later=later)

    def _discard(self, task_id: str) -> None:
        unread = self.unread(task_id)
        self.dropped += len(unread)
        self.dropped_finals += sum(t.is_final for t in unread)
        story = self.stories.get(task_id)
        active = story is not None and self.is_active(story.listing)
        listings = [one for one in self.listings if one.task_id == task_id]
        unfinished = [one for one in listings if not one.is_read]

        assert active == self.watcher.discard(task_id)
        for listing in unfinished:
            listing.dropped = True

    @rule(task_id=names, later=later)
    def poll_now(self, *, task_id: str, later: bool) -> None:
        """Ask for a poll out of turn."""
        self.do(lambda: self._poll_now(task_id), later=later)

    def _poll_now(self, task_id: str) -> None:
        story = self.current(task_id)
        if story is not None:
            story.poked = not story.polling

        assert (story is not None) == self.watcher.poll_now(task_id)

    @rule(task_id=names, deadline=deadlines)
    def wait(self, *, task_id: str, deadline: float | Literal["own"] | None) -> None:
        """Wait for a task, watched or not."""
        self.run_for(0.0)
        self.do(lambda: self._wait(task_id, deadline))

    def _wait(self, task_id: str, deadline: float | Literal["own"] | None) -> None:
        seconds = OWN_DEADLINE if deadline == "own" else deadline
        options = {} if deadline == "own" else {"deadline": seconds}
        task = self.loop.create_task(self.watcher.wait(task_id, **options))
        wait = Wait(task, self.now + (inf if seconds is None else seconds))
        task.add_done_callback(lambda _task: setattr(wait, "done_at", self.now))
        story = self.current(task_id)
        if story is None:
            story = Story(task_id, self.now, self.now + LATEST)
            if not self.closed:
                self.stories[task_id] = story
        story.waits.append(wait)
        story.stops.append(wait.deadline_at)
        self.waits.append((wait, story))

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def cancel_wait(self, data: st.DataObject) -> None:
        """Cancel somebody who waits."""
        self.run_for(0.0)
        waiting = [wait for wait, _ in self.waits if not wait.task.done()]
        if waiting:
            wait = data.draw(st.sampled_from(waiting))
            wait.cancelled = True
            self.do(wait.task.cancel)

    @rule(pause=st.sampled_from((0.0, 0.0, 0.4, 30.0)), most=st.sampled_from((1, 999)))
    def start_reader(self, *, pause: float, most: int) -> None:
        """Have one more reader, fast or slow, for one transition or many."""

        def start() -> None:
            task = self.loop.create_task(self.read(pause, most))
            self.readers.append(Reader(task))

        self.do(start)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), later=later)
    def cancel_reader(self, data: st.DataObject, *, later: bool) -> None:
        """Cancel a reader wherever it is."""
        reader = data.draw(st.sampled_from(self.readers))
        self.do(reader.task.cancel, later=later)

    @rule(
        rounds=st.integers(0, 2),
        whom=st.sampled_from(("first", "last", "readers", "waiters")),
    )
    def lie_in_ambush(self, *, rounds: int, whom: str) -> None:
        """Cancel some who read or wait just when the next news comes for them."""
        self.ambushes.append((rounds, whom))

    @rule(really=rarely)
    def close(self, *, really: bool) -> None:
        """Take no more tasks."""

        def close() -> None:
            self.watcher.close()
            self.closed = True

        if really:
            self.run_for(0.0)
            self.do(close)

    # The rules: the world.

    @rule(
        task_id=names,
        status=st.sampled_from(("PENDING", "QUEUED", "RUNNING", "SUCCESS", "ERROR")),
    )
    def change(self, *, task_id: str, status: str) -> None:
        """Have a task change its status, or finish."""
        self.service.remotes[task_id].status = status

    @rule(task_id=names, restless=st.booleans())
    def be_restless(self, *, task_id: str, restless: bool) -> None:
        """Have a task change its status with each poll, or no more."""
        self.service.remotes[task_id].restless = restless

    @rule(task_id=names, latency=latencies)
    def answer_slowly(self, *, task_id: str, latency: float) -> None:
        """Have polls of a task take their time."""
        self.service.remotes[task_id].latency = latency

    @rule(task_id=names, fault=st.sampled_from(sorted(FAULTS)), times=st.integers(1, 5))
    def break_task(self, *, task_id: str, fault: str, times: int) -> None:
        """Have the next polls of a task fail."""
        self.service.remotes[task_id].faults.extend([fault] * times)

    @rule(fault=st.sampled_from((None, None, *TRANSIENT)))
    def break_service(self, fault: str | None) -> None:
        """Have all polls fail, or no more."""
        self.service.outage = fault

    @rule(really=rarely)
    def refuse_key(self, *, really: bool) -> None:
        """Have the next poll refused for its key."""
        self.service.key_refused = self.service.key_refused or really

    @rule(seconds=st.sampled_from((0.0, 0.05, 0.3, 1.0, 1.0, 2.5, 2.5, 20.0, 150.0)))
    def let_time_pass(self, seconds: float) -> None:
        """Wait, a moment or a while."""
        self.run_for(seconds)

    @rule(seconds=st.sampled_from((0.5, 10.0, 50.0, 5000.0)))
    def be_held_up(self, seconds: float) -> None:
        """Have the process stand still while the clock goes on."""
        self.run_for(0.0)
        self.loop.sleep_through(seconds)
        self.jumped_at = self.now
        self.run_for(0.0)

    # What holds at any time.

    def check(self) -> None:
        """Compare the watcher with the model, now that everything is at rest."""
        for error in self.complaints:
            raise error
        self.look_for_a_queue()
        for reader in self.readers:
            self.check_reader(reader)
        self.readers = [one for one in self.readers if not one.task.done()]
        for listing in self.listings:
            if not listing.dropped:
                self.check_listing(listing)
        for wait, story in self.waits:
            if not wait.checked:
                self.check_wait(wait, story)
        if not self.left:
            self.check_counts()

    def check_reader(self, reader: Reader) -> None:
        """No reader has failed, and none waits for what is there."""
        if reader.task.done():
            if not reader.task.cancelled():
                reader.task.result()
        elif reader.in_anext:
            assert not self.watcher._engine.outbox, "a reader sleeps over transitions"
            assert not self.is_at_the_end(), "a reader sleeps over the end"

    def check_listing(self, listing: Listing) -> None:
        """All changes are reported, and the end once and in time."""
        told = self.told(listing)
        finals = [t for t in told if t.is_final]
        assert finals == told[-1:] or not finals
        changes = [t.state for t in told if isinstance(t.error, TaskError | None)]
        expected = [one for one, _ in groupby(listing.said)]
        if sum(len(one.said) for one in self.of(listing.task_id)) < UNMERGED:
            assert expected == changes
        else:
            rest = iter(expected)
            assert all(any(change == one for one in rest) for change in changes)
        if finals:
            self.check_final(listing, finals[0])
        elif not self.left:
            assert listing.verdict is None, "no final transition"
            assert self.now <= max(listing.deadline_at, self.jumped_at) + PATIENCE + 1

    def of(self, task_id: str) -> list[Listing]:
        """Return the adds of a task."""
        return [listing for listing in self.listings if listing.task_id == task_id]

    def check_final(self, listing: Listing, final: Transition) -> None:
        """The end of an add has its reason."""
        error, story = final.error, listing.story
        if isinstance(error, DeadlineExceededError):
            assert listing.since + final.elapsed >= listing.deadline_at - EPSILON
            assert self.has_looked(story, listing.deadline_at), "no last poll"
        elif isinstance(error, TaskError) or error is None:
            assert listing.verdict is final.state
        else:
            assert listing.verdict is error

    def has_looked(self, story: Story, stop_at: float) -> bool:
        """Whether there was a last poll at that time, or no slot for one."""
        return (
            story.polling
            or max(story.answered_at, self.busy_until) >= stop_at - EPSILON
        )

    def check_wait(self, wait: Wait, story: Story) -> None:
        """Who waits is told what became of the task, and when due."""
        if not wait.task.done():
            assert not wait.cancelled
            assert story.verdict is None, "a waiter is not told"
            assert self.now <= max(wait.deadline_at, self.jumped_at) + PATIENCE + 1
            return
        wait.checked = True
        if wait.cancelled:
            assert wait.task.cancelled(), "a cancelled wait goes on"
            return
        error = wait.task.exception()
        if isinstance(error, DeadlineExceededError):
            assert wait.done_at >= wait.deadline_at - EPSILON
            assert error.state in (None, *story.states)
            assert self.has_looked(story, wait.deadline_at), "no last poll"
        elif isinstance(error, WatcherClosedError):
            assert self.left or self.closed
        elif isinstance(error, TaskError):
            assert story.verdict is error.state
        elif error is not None:
            assert type(story.verdict) is type(error)
        else:
            assert story.verdict is wait.task.result()
            assert "SUCCESS" == wait.task.result().raw_status

    def check_counts(self) -> None:
        """What the watcher says of itself is so."""
        stories = [s for s in map(self.current, NAMES) if s is not None]
        unread = [t for name in NAMES for t in self.unread(name)]
        seen = [t for listing in self.listings for t in listing.read] + unread
        finals = sum(t.is_final for t in seen) + self.dropped_finals
        stats = self.watcher.stats()

        assert len(stories) == len(self.watcher) == stats.watching
        assert [s.task_id for s in stories] == [n for n in NAMES if n in self.watcher]
        assert len(stories) == len(self.watcher.watched())
        assert self.service.in_flight == stats.in_flight
        assert sum(story.failures > 0 for story in stories) == stats.failing
        assert self.polls <= stats.polls <= self.polls + self.unsure_polls
        assert len(seen) + self.dropped == stats.transitions
        assert finals == sum(stats.finished.values())
        self.check_punctuality(stories)

    def check_punctuality(self, stories: list[Story]) -> None:
        """No poll that is due has been forgotten, and no last one."""
        for story in stories:
            stops = [w.deadline_at for w in story.waits if not w.task.done()]
            if story.listing is not None and self.is_active(story.listing):
                stops.append(story.listing.deadline_at)
            due = max(min(story.not_after, *stops), self.busy_until)
            assert story.polling or self.now <= due + SLACK, "a poll is overdue"

    # How it ends.

    def teardown(self) -> None:
        """Leave the block, in one way or another: nothing remains."""
        try:
            if self.block is not None:
                self.run_for(0.0)
                if self.ending == "drain":
                    self.drain()
                self.leave_block(self.block)
                self.check_nothing_is_left()
        finally:
            self.clean_up()

    def drain(self) -> None:
        """Have all tasks succeed: everything ends by itself."""
        self.service.outage = None
        self.service.key_refused = False
        self.service.remotes |= {name: Remote("SUCCESS") for name in NAMES}
        self.ambushes.clear()
        self.start_reader(pause=0.0, most=10_000)
        self.close(really=True)
        self.run_for(300.0)

        assert not self.watcher._engine.watches
        assert not self.readers
        for listing in self.listings:
            assert listing.dropped or listing.is_read

    def leave_block(self, block: asyncio.Task[None]) -> None:
        """Leave the block, and look at what comes out."""
        reason = ValueError("of the body")
        self.left = True
        if self.ending == "cancel":
            self.do(block.cancel)
        elif self.ending == "raise":
            self.do(lambda: self.leave.set_exception(reason))
        else:
            self.do(lambda: self.leave.set_result(None))

        assert block.done()
        assert ("cancel" == self.ending) == block.cancelled()
        if not block.cancelled():
            assert (reason if "raise" == self.ending else None) is block.exception()

    def check_nothing_is_left(self) -> None:
        """What is unread can be read; then there is neither task nor timer."""
        self.ambushes.clear()
        self.start_reader(pause=0.0, most=10_000)
        assert all(not reader.in_anext for reader in self.readers)
        for reader in self.readers:
            self.do(reader.task.cancel, later=True)
        self.run_for(0.0)
        engine = self.watcher._engine

        assert all(wait.task.done() for wait, _ in self.waits)
        assert 0 == len(engine._polls) + len(engine._called) + len(engine.watches)
        assert not engine.outbox
        assert 0 == self.service.in_flight
        assert not asyncio.all_tasks(self.loop)
        assert not [timer for timer in self.timers() if not timer.cancelled()]

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return what the loop would do later."""
        timers: list[asyncio.TimerHandle] = vars(self.loop)["_scheduled"]
        return timers

    def clean_up(self) -> None:
        """Leave no warnings about tasks after a story that failed."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.close()


WatcherMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=40)
TestWatcher = WatcherMachine.TestCase


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_more_stories_of_a_watcher() -> None:
    """The machine, ten times as long."""
    run_state_machine_as_test(
        WatcherMachine, settings=settings(max_examples=2500, stateful_step_count=40)
    )
