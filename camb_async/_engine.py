"""The engine of a watcher: runs agenda, pollers and trackers over a source.

The path of one poll runs downwards through this module: ``_tick`` finds a task
due and pushes it to the pollers; ``_poll`` asks the source; ``_take_in`` tells the
tracker; ``_perform`` reports the transition, and puts the task back into the
agenda or ends its watch.

A watch is wanted by the iterator (it is *listed*) and by waiters, each until a
deadline of their own. It ends when the task does, or when nobody wants it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from random import Random
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from ._agenda import Agenda
from ._outbox import Outbox
from ._pollers import Pollers
from ._tracking import SESSION_WIDE, Rules, Step, deadline_error
from ._watch import Phase, StatusSource, Waiter, Watch
from .errors import APIConnectionError, CambError
from .models import TaskRef, TaskState, TaskStatus, Transition, WatcherStats


logger = logging.getLogger("camb_async")

#: Changes of one task that may wait to be read; further ones are merged.
UNREAD_MAX = 64

_LAGS_KEPT = 1024


class Engine:
    """Polls the tasks it is given until ``stop``, in the event loop it is made in."""

    def __init__(
        self, source: StatusSource, rules: Rules, group: TaskGroup, pollers: int
    ) -> None:
        self.watches: Final[dict[TaskRef, Watch]] = {}
        self.outbox: Final = Outbox()
        self.listed = 0
        self._source = source
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._pollers = Pollers(group, pollers, self._poll, self._worth)
        self._random = Random()
        self._polls: Agenda[Watch] = Agenda()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        # Those that are ready or being polled; patience with each has an end.
        self._called: set[Watch] = set()
        self._patience: asyncio.TimerHandle | None = None
        self._patience_ends_at = inf
        self._in_flight = 0
        self._polled = 0
        self._polls_failed = 0
        self._reported = 0
        self._finished: Counter[TaskStatus] = Counter()
        self._lags: deque[float] = deque(maxlen=_LAGS_KEPT)
        # Where other watchers share the source, a key refused to one is to all.
        self._refusals: set[Callable[[Exception], None]] = getattr(
            source, "refusal_listeners", set()
        )
        self._refusals.add(self._heed_refusal)

    # How a watch begins, and who wants it.

    def enlist(
        self,
        task: TaskRef,
        context: Any,
        seconds: float | None,
        started_at: datetime | None = None,
        last_state: TaskState | None = None,
    ) -> None:
        """Watch a task for the iterator, unless that is done already."""
        watch = self.watches.get(task)
        if watch is not None and watch.listed:
            return
        now = self._loop.time()
        if watch is None:
            watch = self._begin(task, now, started_at)
        watch.listed = True
        watch.state = watch.state or last_state
        watch.told = last_state
        watch.told_at = watch.began_at if watch.age_known else None
        watch.context = context
        watch.added_at = now
        watch.deadline_at = now + (inf if seconds is None else seconds)
        self.listed += 1
        self._heed_deadline(watch)
        self._report(watch.change(now, datetime.now(UTC)))

    def unlist(self, watch: Watch) -> None:
        """Stop reporting a task to the iterator."""
        watch.listed = False
        self.listed -= 1
        self._stop_if_unwanted(watch)

    def add_waiter(self, task: TaskRef, seconds: float | None) -> Waiter:
        """Watch a task for somebody who will look at the waiter's future."""
        now = self._loop.time()
        watch = self.watches.get(task)
        if watch is None:
            watch = self._begin(task, now, None)
        deadline_at = now + (inf if seconds is None else seconds)
        waiter = Waiter(self._loop.create_future(), now, deadline_at)
        watch.waiters = (*watch.waiters, waiter)
        self._heed_deadline(watch)
        return waiter

    def remove_waiter(self, task: TaskRef, waiter: Waiter) -> None:
        """Let a waiter go, whether it was settled or not."""
        watch = self.watches.get(task)
        if watch is not None and waiter in watch.waiters:
            watch.waiters = tuple(w for w in watch.waiters if w is not waiter)
            self._stop_if_unwanted(watch)

    def poll_now(self, watch: Watch) -> None:
        """Make a task due at once, unless it is being polled or about to be."""
        if watch.phase is Phase.WAITING:
            self._polls.remove(watch, self._polls.slot_of(watch.due))
            self._make_ready(watch, self._loop.time())

    def now(self) -> float:
        """Return the engine's clock, in seconds."""
        return self._loop.time()

    def stop(self, error: Exception) -> None:
        """End all watches; waiters get the error, the iterator nothing more."""
        self._refusals.discard(self._heed_refusal)
        for timer in (self._alarm, self._patience):
            if timer is not None:
                timer.cancel()
        self._alarm = self._patience = None
        for watch in self.watches.values():
            watch.phase = Phase.GONE
            for waiter in watch.waiters:
                waiter.settle(error)
        self.watches.clear()
        self._polls.clear()
        self._called.clear()
        self.listed = 0
        self.outbox.wake_all()

    def stats(self) -> WatcherStats:
        """Return the counts of what is going on and has been done."""
        lags = sorted(self._lags)
        return WatcherStats(
            watching=len(self.watches),
            in_flight=self._in_flight,
            failing=sum(watch.failures > 0 for watch in self.watches.values()),
            polls=self._polled,
            failed_polls=self._polls_failed,
            transitions=self._reported,
            finished=dict(self._finished),
            lag_p99=lags[len(lags) * 99 // 100] if lags else 0.0,
        )

    def _begin(self, task: TaskRef, now: float, started_at: datetime | None) -> Watch:
        began = started_at or task.created_at
        age = 0.0
        if began is not None:
            age = max(0.0, (datetime.now(UTC) - began).total_seconds())
        began_at = now - age if age else now
        watch = Watch(task, began_at, began is not None, entry=age, added_at=now)
        self.watches[task] = watch
        first = self._rules.schedule.next_delay(task, 0.0, age_known=watch.age_known)
        if watch.age_known:
            self._place_poll(watch, max(now, watch.began_at + first))
        elif self._pollers.busy:
            # Many at once: spread, so that they do not come in step for ever.
            self._place_poll(watch, now + self._random.random() * first)
        else:
            self._make_ready(watch, now)
        return watch

    # The path of one poll.

    def _tick(self) -> None:
        now = max(self._alarm_at, self._loop.time())
        self._alarm = None
        self._alarm_at = inf
        for watch in self._polls.pop_due(now):
            self._make_ready(watch, watch.due)
        due = self._polls.next_due()
        if due is not None:
            self._wake_by(due)

    def _make_ready(self, watch: Watch, due: float) -> None:
        watch.phase = Phase.READY
        watch.due = due
        watch.left_at = self._loop.time()
        self._called.add(watch)
        self._heed_patience(watch)
        self._pollers.push(watch, watch.left_at)

    async def _poll(self, watch: Watch) -> None:
        if watch.phase is not Phase.READY:
            return
        watch.phase = Phase.POLLING
        asked = watch.left_at = self._loop.time()
        self._heed_patience(watch)
        self._lags.append(asked - watch.due)
        self._in_flight += 1
        try:
            outcome = await self._ask(watch.task)
        finally:
            self._in_flight -= 1
        # The watch may have ended meanwhile: its deadline, a discard.
        if watch.phase is Phase.POLLING:
            self._take_in(watch, outcome, asked)
        elif isinstance(outcome, SESSION_WIDE):
            self._end_all(outcome)

    def _worth(self, watch: Watch, now: float) -> float:
        return inf if watch.stop_at <= now else watch.worth(self._rules, now)

    async def _ask(self, task: TaskRef) -> TaskState | Exception:
        poller = asyncio.current_task()
        assert poller is not None  # noqa: S101 - an event loop runs it as a task
        cancelled = poller.cancelling()
        try:
            outcome: object = await self._source.poll(task)
        except CambError as error:
            # Its frames hold the whole answer, and each failing watch holds one.
            return error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - a source may raise anything
            return error
        except asyncio.CancelledError:
            # By the block's end, or by whoever ends all tasks, as asyncio.run does.
            ended = anyio.current_effective_deadline() == -inf
            if ended or poller.cancelling() > cancelled:
                raise
            # Nobody cancelled this poller: the source let a cancellation of its
            # own escape, which is its fault and no reason to stop.
            return APIConnectionError("The source cancelled the poll by itself.")
        if isinstance(outcome, TaskState):
            return outcome
        kind = type(outcome).__name__
        return TypeError(f"The source's poll must return a TaskState, not {kind}.")

    def _take_in(
        self, watch: Watch, outcome: TaskState | Exception, asked: float
    ) -> None:
        now, at = self._loop.time(), datetime.now(UTC)
        failures = watch.failures
        self._polled += 1
        if isinstance(outcome, Exception):
            self._polls_failed += 1
            unit = self._random.random()
            step = watch.missed(outcome, self._rules, now=now, at=at, unit=unit)
            if failures == 0 and not watch.over:
                logger.warning("Polling %s fails, and goes on: %s", watch.task, outcome)
        else:
            muted = self.outbox.unread(watch.task) >= UNREAD_MAX
            step = watch.saw(
                outcome, self._rules, asked=asked, now=now, at=at, muted=muted
            )
            if failures:
                logger.info("Polling %s works after %d tries", watch.task, failures)
        self._perform(watch, step, asked, now)

    def _perform(self, watch: Watch, step: Step, asked: float, now: float) -> None:
        self._report(step.transition)
        if step.delay is None:
            self._end(watch, watch.outcome)
            if isinstance(watch.error, SESSION_WIDE):
                self._end_all(watch.error)
            return
        if asked >= watch.stop_at:
            self._expire(watch, asked)
        if watch.phase is Phase.POLLING:
            self._place_poll(watch, min(now + step.delay, watch.stop_at))

    def _report(self, transition: Transition | None) -> None:
        if transition is None:
            return
        logger.info("%s is %s", transition.task, transition.status)
        self._reported += 1
        self.outbox.put(transition)
        if transition.is_final:
            self._finished[transition.status or TaskStatus.UNKNOWN] += 1
            self.listed -= 1
            if not self.listed:
                self.outbox.wake_all()

    # Places in the agendas.

    def _place_poll(self, watch: Watch, due: float) -> None:
        watch.phase = Phase.WAITING
        watch.due = due
        self._called.discard(watch)
        self._wake_by(self._polls.time_of(self._polls.put(watch, due)))

    def _heed_deadline(self, watch: Watch) -> None:
        """Have the last poll made when the first of those who wait gives up."""
        if watch.phase is not Phase.WAITING:
            self._heed_patience(watch)
        elif watch.stop_at < watch.due:
            self._polls.remove(watch, self._polls.slot_of(watch.due))
            self._place_poll(watch, watch.stop_at)

    def _wake_by(self, when: float) -> None:
        if when < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = when
            self._alarm = self._loop.call_at(when, self._tick)

    def _heed_patience(self, watch: Watch) -> None:
        """Look at the watches that are called when patience with this one ends."""
        ends_at = watch.patience_ends_at
        if ends_at < self._patience_ends_at:
            if self._patience is not None:
                self._patience.cancel()
            self._patience_ends_at = ends_at
            self._patience = self._loop.call_at(ends_at, self._lose_patience)

    def _lose_patience(self) -> None:
        now = max(self._patience_ends_at, self._loop.time())
        self._patience = None
        self._patience_ends_at = inf
        for watch in list(self._called):
            if watch.patience_ends_at <= now:
                self._expire(watch, watch.stop_at)
        for watch in self._called:
            self._heed_patience(watch)

    # How a watch ends.

    def _expire(self, watch: Watch, until: float) -> None:
        """Let those go whose deadline has come; the others wait on."""
        now = self._loop.time()
        if watch.listed and watch.deadline_at <= until:
            self._report(watch.give_up(self._rules, now, datetime.now(UTC)))
        late = [waiter for waiter in watch.waiters if waiter.deadline_at <= until]
        for waiter in late:
            elapsed = now - waiter.since
            waiter.settle(deadline_error(watch.task, watch.state, elapsed, watch.error))
        watch.waiters = tuple(w for w in watch.waiters if w not in late)
        self._stop_if_unwanted(watch)

    def _stop_if_unwanted(self, watch: Watch) -> None:
        if watch.wanted:
            self._heed_deadline(watch)
        else:
            self._forget(watch)

    def _heed_refusal(self, error: Exception) -> None:
        """End all watches, because the source's key was refused to somebody."""
        for watch in list(self.watches.values()):
            if watch.phase is Phase.POLLING:
                # Soon: its own poll may be the one, and is still to be noted.
                self._loop.call_soon(self._refuse, watch, error)
            else:
                self._refuse(watch, error)

    def _end_all(self, error: Exception) -> None:
        for watch in list(self.watches.values()):
            self._refuse(watch, error)

    def _refuse(self, watch: Watch, error: Exception) -> None:
        if watch.phase is not Phase.GONE:
            self._report(watch.refuse(error, self._loop.time(), datetime.now(UTC)))
            self._end(watch, error)

    def _end(self, watch: Watch, outcome: TaskState | Exception) -> None:
        for waiter in watch.waiters:
            waiter.settle(outcome)
        watch.waiters = ()
        self._forget(watch)

    def _forget(self, watch: Watch) -> None:
        if watch.phase is Phase.WAITING:
            self._polls.remove(watch, self._polls.slot_of(watch.due))
        elif watch.phase is Phase.READY:
            self._pollers.discard(watch)
        self._called.discard(watch)
        watch.phase = Phase.GONE
        del self.watches[watch.task]
