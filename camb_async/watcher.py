"""Watch any number of tasks at once, as one stream of transitions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from copy import copy
from datetime import datetime
from enum import Enum, auto
from types import TracebackType
from typing import Any, Final, Self

import anyio
from anyio.abc import TaskGroup

from ._budget import RetryBudget
from ._engine import Engine
from ._guard import GuardedSchedule
from ._tracking import Rules, check_deadline
from ._watch import Phase, StatusSource, Watch
from .adaptive import AdaptiveSchedule, Eta
from .errors import InvalidTaskIdError, WatcherClosedError
from .models import TaskRef, TaskState, Transition, WatchedTask, WatcherStats
from .policies import Limits, RetryPolicy
from .schedules import PollSchedule


class _Unset(Enum):
    """Stands for "the watcher's own" where None has a meaning of its own."""

    UNSET = auto()


_LEFT = "The watcher's block was left, and with it all polling: make a new watcher."


class TaskWatcher:
    """Poll many tasks at once and iterate over their changes as they happen.

    Use it as ``async with``, and iterate inside the block. What it promises:

    - Every change of a task's status text is reported once, in order per task;
      there is no order across tasks. First sight is a change.
    - Each ``add`` ends in exactly one final transition: a final status, the
      deadline (after one last poll), or an answer that settles the matter (401,
      402, 403, 422, or 404 once the policy's grace is over). A failed poll never
      ends a task. What went wrong is ``transition.error``; nothing about a task
      is ever raised from the iterator, and no task touches another, except that
      a refused key (401) ends them all.
    - A slow reader loses nothing. Of one task 64 changes may lie unread; further
      ones that are not final are merged until there is room. Several readers
      share one stream: each transition goes to one of them. Cancelling
      ``anext`` never swallows one.
    - The iteration ends when every task is finished and read; with ``keep_open``
      it waits for more tasks until ``close()``. A loop may be left with
      ``break`` and taken up again.
    - Leaving the block stops all polling and closes nothing that was handed in.
      The remote tasks are left alone.

    Every method must be called in the thread of the event loop.

    Args:
        source: what to ask, usually a CambSession.
        tasks: the first tasks: ids of text-to-voice tasks, or TaskRefs.
        schedule: when to poll; the session's own by default, or an AdaptiveSchedule
            for any other source.
        deadline: seconds that each task is given from when it is added; None
            for no limit.
        keep_open: whether to wait for more tasks when all are finished.

    Raises:
        InvalidTaskIdError: one of the tasks is not a task id.
        TypeError: the source has no ``poll``, or the tasks are one and not several.
        ValueError: the deadline is negative or not a number.
        WatcherClosedError: on entering it a second time.
    """

    def __init__(
        self,
        source: StatusSource,
        tasks: Iterable[TaskRef | str] = (),
        *,
        schedule: PollSchedule | None = None,
        deadline: float | None = 3600.0,
        keep_open: bool = False,
    ) -> None:
        if isinstance(tasks, str | TaskRef):
            message = f"tasks must be several tasks; for one, pass [{tasks!r}]"
            raise TypeError(message)
        if not callable(getattr(source, "poll", None)):
            message = (
                "the first argument must be what to ask, such as a CambSession, "
                f"not {type(source).__name__}"
            )
            raise TypeError(message)
        self._source: Final = source
        self._first_tasks = [TaskRef.of(task) for task in tasks]
        retry: RetryPolicy = getattr(source, "retry", None) or RetryPolicy()
        budget: RetryBudget = getattr(source, "retry_budget", None) or RetryBudget()
        given: PollSchedule | None = schedule or getattr(source, "schedule", None)
        guarded = GuardedSchedule(given or AdaptiveSchedule())
        self._rules: Final = Rules(guarded, retry, budget)
        self._deadline: Final = check_deadline(deadline)
        self._keep_open: Final = keep_open
        self._group: TaskGroup
        self._running: Engine | None = None
        self._closed = self._left = False

    def __repr__(self) -> str:
        state = "left" if self._left else "open" if self._running else "not entered"
        return f"<TaskWatcher {state}, watching {len(self)}>"

    def __len__(self) -> int:
        return 0 if self._running is None else len(self._running.watches)

    def __contains__(self, task: object) -> bool:
        if self._running is None or not isinstance(task, str | TaskRef):
            return False
        try:
            return TaskRef.of(task) in self._running.watches
        except InvalidTaskIdError:
            return False

    async def __aenter__(self) -> Self:
        if self._running is not None:
            message = "A TaskWatcher is entered once: make a new one."
            raise WatcherClosedError(message)
        limits: Limits = getattr(self._source, "limits", None) or Limits()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._running = Engine(
            self._source, self._rules, self._group, limits.max_in_flight
        )
        for task in self._first_tasks:
            self._running.enlist(task, None, self._deadline)
        self._first_tasks.clear()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._left = self._closed = True
        self._engine.stop(WatcherClosedError(_LEFT))
        self._group.cancel_scope.cancel()
        try:
            # The group is told of a cancellation only: any other exception of the
            # body it would wrap in a group of one.
            if isinstance(exc, asyncio.CancelledError):
                return await self._group.__aexit__(exc_type, exc, traceback)
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as errors:
            # A source raised what is no Exception. One cause is not worth a group.
            raise errors.exceptions[0] from None
        return None

    def __aiter__(self) -> Self:
        if self._left and not self._engine.outbox:
            raise WatcherClosedError(_LEFT)
        return self

    async def __anext__(self) -> Transition:
        engine = self._engine
        while not engine.outbox:
            waits_for_more = self._keep_open and not self._closed
            if self._left or not (engine.listed or waits_for_more):
                raise StopAsyncIteration
            await engine.outbox.wait()
        return engine.outbox.take()

    async def next_batch(self, limit: int = 1000) -> list[Transition]:
        """Wait for transitions and take all that are there, for storing them at once.

        As with the iteration, cancelling swallows none, and each goes to one
        reader.

        Args:
            limit: how many are taken at the most.

        Returns:
            At least one transition.

        Raises:
            StopAsyncIteration: the iteration has ended.
            WatcherClosedError: the block was never entered.
        """
        batch = [await anext(self)]
        outbox = self._engine.outbox
        while outbox and len(batch) < limit:
            batch.append(outbox.take())
        return batch

    def add(
        self,
        task: TaskRef | str,
        *,
        context: Any = None,
        deadline: float | _Unset | None = _Unset.UNSET,
        started_at: datetime | None = None,
        last_state: TaskState | None = None,
    ) -> None:
        """Watch a task. Does nothing if it is watched already.

        Args:
            task: a TaskRef, or the id of a text-to-voice task.
            context: any object; handed back on each of the task's transitions.
            deadline: seconds from now, None for no limit; the watcher's own
                unless given.
            started_at: when the task began (an aware datetime), if that is known
                better than from ``task.created_at``; it helps the schedule.
            last_state: what was seen of the task before, by another watcher or
                before a restart. It is not reported again: the first transition
                is the first change from it.

        Raises:
            InvalidTaskIdError: it is not a task id; nothing was sent.
            WatcherClosedError: outside the block, or after ``close()``.
            ValueError: the deadline is negative or not a number, ``started_at`` has
                no time zone, or the last state is final.
        """
        ref = TaskRef.of(task)
        self._check_open()
        if started_at is not None and (
            not isinstance(started_at, datetime) or started_at.utcoffset() is None
        ):
            message = "started_at must be a datetime that has a time zone, or None"
            raise ValueError(message)
        if last_state is not None and last_state.is_final:
            message = f"{ref} has ended already, as {last_state.raw_status}"
            raise ValueError(message)
        seconds = self._seconds(deadline)
        self._engine.enlist(ref, context, seconds, started_at, last_state)

    def discard(self, task: TaskRef | str) -> bool:
        """Stop watching a task and drop what is unread of it.

        The remote task is left alone. Who is in ``wait`` for it goes on waiting.

        Returns:
            Whether it was watched.

        Raises:
            InvalidTaskIdError: it is not a task id.
            WatcherClosedError: the block was never entered.
        """
        ref = TaskRef.of(task)
        engine = self._engine
        engine.outbox.drop(ref)
        watch = engine.watches.get(ref)
        watched = watch is not None and watch.listed
        if watch is not None and watched:
            engine.unlist(watch)
        self._wake_readers_at_the_end()
        return watched

    def poll_now(self, task: TaskRef | str) -> bool:
        """Poll a watched task as soon as the limits allow, instead of when due.

        For news from elsewhere: a user's refresh button, a webhook of your own.
        Does nothing while a poll of the task is under way.

        Returns:
            Whether the task is watched.

        Raises:
            InvalidTaskIdError: it is not a task id.
            WatcherClosedError: the block was never entered.
        """
        watch = self._engine.watches.get(TaskRef.of(task))
        if watch is None:
            return False
        self._engine.poll_now(watch)
        return True

    def close(self) -> None:
        """Take no more tasks; the iteration ends when those watched are finished."""
        self._closed = True
        self._wake_readers_at_the_end()

    def stats(self) -> WatcherStats:
        """Return what the watcher is doing and has done so far.

        Raises:
            WatcherClosedError: the block was never entered.
        """
        return self._engine.stats()

    def watched(self) -> list[WatchedTask]:
        """Return how each watched task stands, in the order they were added.

        Raises:
            WatcherClosedError: the block was never entered.
        """
        now = self._engine.now()
        return [_standing(watch, now) for watch in self._engine.watches.values()]

    def get(self, task: TaskRef | str) -> WatchedTask | None:
        """Return how a watched task stands; None if it is not watched.

        Raises:
            InvalidTaskIdError: it is not a task id.
            WatcherClosedError: the block was never entered.
        """
        watch = self._engine.watches.get(TaskRef.of(task))
        return None if watch is None else _standing(watch, self._engine.now())

    def eta(self, task: TaskRef | str) -> Eta | None:
        """Return when a watched task is likely to be done, as learnt from others.

        Returns:
            The share of tasks that are over by its age, and a range of seconds
            from now; None if it is not watched, if too few of its kind were seen
            to end, or if the schedule is none that learns.

        Raises:
            InvalidTaskIdError: it is not a task id.
            WatcherClosedError: the block was never entered.
        """
        watch = self._engine.watches.get(TaskRef.of(task))
        return None if watch is None else watch.eta(self._rules, self._engine.now())

    async def wait(
        self, task: TaskRef | str, *, deadline: float | _Unset | None = _Unset.UNSET
    ) -> TaskState:
        """Wait for one task, watched already or not.

        Any number of waiters, and the iterator, share one stream of polls of a
        task. It ends when the last of them is gone: cancelling a wait cancels
        nothing else. What only waiters asked for is not reported to the iterator.

        Args:
            task: a TaskRef, or the id of a text-to-voice task.
            deadline: seconds from now, None for no limit; the watcher's own
                unless given.

        Returns:
            The state with status SUCCESS.

        Raises:
            TaskError: the service ended the task without a result.
            DeadlineExceededError: the deadline passed; the task goes on remotely.
            APIStatusError: the API refused to tell (401, 402, 403, 404, 422).
            InvalidTaskIdError: it is not a task id; nothing was sent.
            WatcherClosedError: the block is not entered, or was left meanwhile.
            ValueError: the deadline is negative or not a number.
        """
        ref = TaskRef.of(task)
        engine = self._engine
        if ref not in engine.watches:
            self._check_open()
        waiter = engine.add_waiter(ref, self._seconds(deadline))
        try:
            outcome = await waiter.future
        finally:
            engine.remove_waiter(ref, waiter)
        if isinstance(outcome, Exception):
            # Each waiter raises an error of its own: tracebacks must not mix.
            raise copy(outcome)
        return outcome

    def _seconds(self, deadline: float | _Unset | None) -> float | None:
        return self._deadline if deadline is _Unset.UNSET else check_deadline(deadline)

    @property
    def _engine(self) -> Engine:
        if self._running is None:
            message = "Enter the watcher first: async with TaskWatcher(...) as watcher"
            raise WatcherClosedError(message)
        return self._running

    def _check_open(self) -> None:
        if self._left:
            raise WatcherClosedError(_LEFT)
        if self._closed:
            message = "The watcher takes no more tasks after close(): make a new one."
            raise WatcherClosedError(message)

    def _wake_readers_at_the_end(self) -> None:
        if self._running is not None and not self._running.listed:
            self._running.outbox.wake_all()


def _standing(watch: Watch, now: float) -> WatchedTask:
    waiting = watch.phase is Phase.WAITING
    return WatchedTask(
        task=watch.task,
        state=watch.state,
        elapsed=now - watch.added_at,
        polls=watch.polls,
        next_poll=max(0.0, watch.due - now) if waiting else None,
        error=watch.error,
        context=watch.context,
    )
