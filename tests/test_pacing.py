"""The budget of a session: rate, slots, pauses and recovery, on a made-up clock."""

from __future__ import annotations

import math
from random import Random

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from camb_async._pacing import PAUSE_MAX, SAVED_UP, TRICKLE, Pacer
from camb_async.policies import Limits

from .helpers import most_in_a_second


# Sums of floats; a millionth of a request is none.
EPSILON = 1e-6
PLENTY = 10_000


@attrs.define
class Door:
    """Requests that want to leave, and a caller that does as the pacer says."""

    pacer: Pacer
    now: float = 0.0
    sent: list[float] = attrs.field(factory=list[float])

    def leave(self, most: int = PLENTY) -> int:
        """Let up to this many leave at this instant, and return how many did."""
        count = 0
        while count < most and self.pacer.delay(self.now, most - count) == 0.0:
            self.pacer.leave(self.now)
            self.sent.append(self.now)
            count += 1
        return count

    def flow(self, seconds: float, *, answered: bool = True) -> int:
        """Send as much as may leave for a while, each answered at once."""
        until, before = self.now + seconds, len(self.sent)
        while self.now < until:
            for _ in range(self.leave(500)):
                self.pacer.back()
                if answered:
                    self.pacer.answered()
            delay = self.pacer.delay(self.now, PLENTY)
            # At least a microsecond, which no rate here can turn into a request.
            self.now += max(delay or 0.001, 1e-6)
        return len(self.sent) - before


def door(
    max_rate: float | None = 50.0, max_in_flight: int = 10**9, now: float = 10.0
) -> Door:
    """Return a door with these limits."""
    return Door(Pacer(Limits(max_in_flight=max_in_flight, max_rate=max_rate)), now)


def rate_of(door: Door) -> float:
    """Return the rate, which must be a number."""
    rate = door.pacer.rate
    assert rate is not None

    return rate


# The rate.


@pytest.mark.parametrize(
    ("max_rate", "burst"), [(50.0, 5), (10.0, 1), (0.5, 1), (1000.0, 100)]
)
@pytest.mark.parametrize("idle", [0.0, 0.1, 10.0, 1e6])
def test_an_idle_time_is_not_paid_back_in_a_burst(
    max_rate: float, burst: int, idle: float
) -> None:
    """At most a tenth of a second's worth leaves at once, or one request."""
    this = door(max_rate)
    this.flow(3.0)
    this.now += idle

    assert this.leave() <= burst


def test_a_new_session_starts_without_a_burst() -> None:
    """However large the clock's first reading, the first second is as any."""
    assert door(now=1e6).leave() <= 5


@pytest.mark.parametrize("max_rate", [0.5, 3.0, 50.0, 777.0])
def test_the_rate_is_used_and_not_exceeded(max_rate: float) -> None:
    """Over a longer time, as much leaves as may, and no more."""
    sent = door(max_rate).flow(20.0)

    assert 0.95 * 20.0 * max_rate <= sent <= 20.0 * max_rate + max(1, 0.1 * max_rate)


@pytest.mark.parametrize("start", [0.0, 86_400.0])
@pytest.mark.parametrize("max_rate", [0.3, 7.7, 50.0])
def test_who_waits_as_told_may_leave(max_rate: float, start: float) -> None:
    """After the delay a request may leave, or the clock has moved: no idle spin."""
    this = door(max_rate, now=start)
    for _ in range(200):
        waits = 0
        while delay := this.pacer.delay(this.now):
            before, this.now = this.now, this.now + delay
            waits += 1

            assert before < this.now
            assert waits <= 3
        this.leave(1)


def test_a_delay_for_many_lets_several_leave_together() -> None:
    """With many waiting, the wake-up is late enough for more than one."""
    alone, crowd = door(), door()
    alone.leave()
    crowd.leave()
    delay_alone, delay_crowd = alone.pacer.delay(10.0), crowd.pacer.delay(10.0, 1000)

    assert delay_alone == pytest.approx(1 / 50.0)
    assert delay_crowd == pytest.approx(2.5 / 50.0)
    crowd.now += (delay_crowd or 0.0) + EPSILON
    assert crowd.leave() == 2


@given(
    st.floats(0.1, 500.0),
    st.integers(1, 10_000),
    st.floats(0.0, 1e6),
)
def test_no_delay_is_longer_than_one_request_or_half_of_what_is_saved_up(
    max_rate: float, wanted: int, now: float
) -> None:
    """Gathering a few never makes the first one wait for long."""
    this = door(max_rate, now=now)
    this.leave()
    delay = this.pacer.delay(now, wanted)

    assert delay is not None
    assert 0.0 < delay <= max(1.0 / max_rate, SAVED_UP / 2) * (1 + EPSILON)


@pytest.mark.parametrize("wanted", [1, 10_000])
def test_without_a_rate_only_the_slots_count(wanted: int) -> None:
    """With no limit on the rate, whatever has a slot may leave."""
    this = door(None, max_in_flight=1000)
    sent = this.leave(wanted)

    assert min(wanted, 1000) == sent
    assert this.pacer.rate is None


def test_what_is_held_up_on_its_way_saves_nothing_up() -> None:
    """Those that were let out and leave late are not followed at once by more."""
    this = door()
    this.leave()
    this.now += 10.0
    this.pacer.left(this.now)

    assert this.leave() == 0
    this.now += 0.1
    assert this.leave() == 5


def test_leaving_at_once_takes_nothing_from_the_rate() -> None:
    """Without a hold-up, a request that has left makes the next no later."""
    this = door()
    this.leave()
    before = this.pacer.delay(this.now)
    this.pacer.left(this.now)

    assert before == this.pacer.delay(this.now)


# The slots.


def test_a_full_house_waits_for_a_slot_and_not_for_time() -> None:
    """None says that only the end of a request helps, at any time."""
    this = door(max_in_flight=3)

    assert this.leave() == 3
    this.now = 1000.0
    assert this.pacer.delay(this.now) is None
    this.pacer.back()
    assert this.leave() == 1
    assert this.pacer.in_flight == 3


def test_take_back_returns_the_slot_and_the_allowance() -> None:
    """A request that was not sent after all costs nothing."""
    this = door(max_in_flight=5)
    this.leave()
    this.pacer.take_back()

    assert this.pacer.delay(this.now) == 0.0
    assert this.pacer.in_flight == 4
    assert this.leave() == 1


@pytest.mark.parametrize("max_rate", [50.0, None])
def test_taking_back_late_saves_nothing_up(max_rate: float | None) -> None:
    """The allowance that came back is under the same cap as any."""
    this = door(max_rate)
    this.leave(5)
    this.now = 100.0
    for _ in range(5):
        this.pacer.take_back()
    this.pacer.refused(this.now, None)
    cap = max(1.0, SAVED_UP * rate_of(this))

    assert this.leave() <= cap


# Refusals.


def test_a_refusal_slows_the_session_down_by_a_tenth() -> None:
    """A 429 or 503 costs a tenth of the rate, each time, to a sixteenth."""
    this = door()
    rates: list[float] = []
    for _ in range(40):
        this.pacer.refused(this.now, None)
        rates.append(rate_of(this))

    assert [pytest.approx(45.0), pytest.approx(40.5)] == rates[:2]
    assert sorted(rates, reverse=True) == rates
    assert pytest.approx(50.0 / 16) == rates[-1]


def test_answers_bring_the_rate_back() -> None:
    """Each good answer raises the rate by a fiftieth, up to where it was."""
    this = door()
    for _ in range(40):
        this.pacer.refused(this.now, None)
    rates: list[float] = []
    for _ in range(200):
        this.pacer.answered()
        rates.append(rate_of(this))

    assert pytest.approx([50.0 / 16 * 1.02**n for n in range(1, 9)]) == rates[:8]
    assert sorted(rates) == rates
    assert rates[-1] == 50.0


def test_many_good_answers_in_a_row_bring_it_back_faster_and_faster() -> None:
    """After an outage some thirty answers do; a refusal in between starts over."""
    this = door()
    for _ in range(40):
        this.pacer.refused(this.now, None)
    answers = 0
    while rate_of(this) < 50.0:
        this.pacer.answered()
        answers += 1
    this.pacer.refused(this.now, None)
    low = rate_of(this)
    this.pacer.answered()

    assert 25 < answers < 35
    assert pytest.approx(low * 1.02) == rate_of(this)


def test_answers_never_raise_the_rate_above_the_limit() -> None:
    """A long good time is not saved up for a bad one."""
    this = door()
    this.pacer.refused(this.now, None)
    for _ in range(1000):
        this.pacer.answered()
    this.pacer.refused(this.now, None)

    assert pytest.approx(45.0) == this.pacer.rate


def test_the_slower_rate_is_what_leaves() -> None:
    """Under a lasting refusal, a sixteenth of the rate leaves."""
    this = door(160.0)
    for _ in range(60):
        this.pacer.refused(this.now, None)
    this.flow(1.0, answered=False)

    assert this.flow(20.0, answered=False) == pytest.approx(200, abs=3)


def test_recovery_takes_its_time_and_comes() -> None:
    """After an outage the full rate is back within a minute of good answers."""
    this = door()
    for _ in range(60):
        this.pacer.refused(this.now, None)
    this.flow(2.0)
    early = rate_of(this)
    this.flow(60.0)

    assert early < 25.0
    assert this.pacer.rate == 50.0


def test_it_settles_where_one_answer_in_six_is_refused() -> None:
    """Against a server that takes half of it, most of what leaves is taken."""
    this, allowance, at, refusals = door(100.0), 0.0, 10.0, 0
    sent_before = this.flow(1.0)
    while this.now < 71.0:
        for _ in range(this.leave()):
            allowance = min(5.0, allowance + (this.now - at) * 50.0)
            at = this.now
            this.pacer.back()
            if allowance >= 1.0:
                allowance -= 1.0
                this.pacer.answered()
            else:
                refusals += 1
                this.pacer.refused(this.now, None)
        this.now += max(this.pacer.delay(this.now, PLENTY) or 0.0, 1e-4)
    share = refusals / (len(this.sent) - sent_before)

    assert 0.1 < share < 0.25
    assert (len(this.sent) - sent_before) / 60.0 == pytest.approx(60.0, rel=0.15)


# Without a rate, a refusal still has to slow down.


def refused_at_100_a_second() -> Door:
    """Return a door without a rate, after ten busy seconds and one refusal."""
    this = door(None)
    for _ in range(1000):
        this.leave(1)
        this.pacer.back()
        this.now += 0.01
    this.pacer.refused(this.now, None)
    return this


def test_without_a_rate_slowing_down_starts_from_what_was_sent() -> None:
    """The first refusal makes a limit out of the rate that was refused."""
    this = refused_at_100_a_second()

    assert this.pacer.rate == pytest.approx(90.0, rel=0.05)
    for _ in range(6):
        this.pacer.answered()
    assert this.pacer.rate is None


def test_without_a_rate_the_limit_does_not_chase_itself_down() -> None:
    """Until answers raise it, the limit is what the refusal made it, not less."""
    this = refused_at_100_a_second()
    this.flow(10.0, answered=False)

    assert this.pacer.rate == pytest.approx(90.0, rel=0.1)


def test_without_a_rate_an_idle_time_does_not_lower_the_limit() -> None:
    """Nothing was refused while nothing was sent."""
    this = refused_at_100_a_second()
    this.now += 5.0
    this.leave(1)

    assert this.pacer.rate == pytest.approx(90.0, rel=0.1)


def test_without_a_rate_further_refusals_lower_the_same_limit() -> None:
    """A second refusal takes a tenth more, and not of what is left of the sending."""
    this = refused_at_100_a_second()
    this.now += 5.0
    this.leave(1)
    this.pacer.refused(this.now, None)

    assert this.pacer.rate == pytest.approx(81.0, rel=0.05)


def test_without_a_rate_a_trickle_is_not_slowed_down_much() -> None:
    """Who has sent next to nothing may send as much as no server minds."""
    this = door(None)
    this.leave(1)
    this.pacer.refused(this.now, None)

    assert this.pacer.rate == pytest.approx(0.9 * TRICKLE)


# Retry-After.


@pytest.mark.parametrize("max_rate", [50.0, None])
@pytest.mark.parametrize(
    ("asked_for", "pause"),
    [(5.0, 5.0), (0.5, 0.5), (PAUSE_MAX, 60.0), (86_400.0, 60.0), (math.inf, 60.0)],
)
def test_a_retry_after_stops_everything_until_then(
    max_rate: float | None, asked_for: float, pause: float
) -> None:
    """The whole session waits as told, for a minute at the most."""
    this = door(max_rate, now=1000.0)
    this.leave(3)
    this.pacer.refused(this.now, asked_for)
    told = this.pacer.delay(this.now, 100)
    this.now += 0.999 * pause
    nearly = this.leave()
    this.now = 1000.0 + pause
    burst = this.leave(100)

    assert pause == told
    assert nearly == 0
    assert burst <= 1
    this.now += 1.0
    assert this.leave(1) == 1


@pytest.mark.parametrize("asked_for", [None, 0.0])
def test_without_a_retry_after_nothing_stops(asked_for: float | None) -> None:
    """A refusal that names no time, or none, only slows down."""
    this = door()
    this.leave(1)
    this.pacer.refused(this.now, asked_for)

    assert this.leave() >= 1


def test_the_longest_retry_after_holds() -> None:
    """A shorter one that comes in later does not cut a pause short."""
    this = door()
    this.pacer.refused(10.0, 30.0)
    this.pacer.refused(11.0, 2.0)

    assert this.pacer.delay(11.0) == 29.0
    this.pacer.refused(12.0, 40.0)
    assert this.pacer.delay(12.0) == 40.0


def test_a_pause_and_a_hold_up_are_not_paid_back() -> None:
    """A process that slept through the end of the pause does not wake with a burst."""
    this = door()
    this.flow(1.0)
    this.pacer.refused(this.now, 10.0)
    this.now += 300.0

    assert this.leave() <= 5


def test_a_full_house_comes_before_a_pause() -> None:
    """Without a slot, the end of the pause is nothing to wake up for."""
    this = door(max_in_flight=1)
    this.leave()
    this.pacer.refused(this.now, 10.0)

    assert this.pacer.delay(this.now) is None


# Any story at all.


class PacerMachine(RuleBasedStateMachine):
    """Requests arrive, answers come or not, time passes or jumps."""

    @initialize(
        max_rate=st.floats(0.2, 300.0),
        max_in_flight=st.integers(1, 60),
        now=st.sampled_from([0.0, 3.3, 1e5, 1e7]),
    )
    def open(self, max_rate: float, max_in_flight: int, now: float) -> None:
        """Begin with any limits, on any clock."""
        self.limits = Limits(max_in_flight=max_in_flight, max_rate=max_rate)
        self.pacer = Pacer(self.limits)
        self.now = now
        self.sent: list[float] = []
        self.in_flight = 0
        self.silent_until = -math.inf

    @rule(
        wanted=st.integers(1, 100),
        held_up=st.just(0.0) | st.floats(0.0, 0.3) | st.floats(0.0, 20.0),
    )
    def arrive(self, wanted: int, held_up: float) -> None:
        """Let as many leave as may; they do, once the process gets to it."""
        count = 0
        while count < wanted and self.pacer.delay(self.now, wanted - count) == 0.0:
            assert self.now >= self.silent_until
            self.pacer.leave(self.now)
            count += 1
        self.in_flight += count
        self.now += held_up
        for _ in range(count):
            self.pacer.left(self.now)
            self.sent.append(self.now)

    @precondition(lambda self: self.in_flight > 0)
    @rule(good=st.integers(0, 60), refused=st.integers(0, 60))
    def answer(self, good: int, refused: int) -> None:
        """Some requests are answered well, some refused."""
        for at in range(min(self.in_flight, good + refused)):
            self.in_flight -= 1
            self.pacer.back()
            if at < good:
                self.pacer.answered()
            else:
                self.pacer.refused(self.now, None)

    @precondition(lambda self: self.in_flight > 0)
    @rule(asked_for=st.floats(0.01, 1e6))
    def silence(self, asked_for: float) -> None:
        """A request is refused with a time to wait."""
        self.in_flight -= 1
        self.pacer.back()
        self.pacer.refused(self.now, asked_for)
        until = self.now + min(asked_for, 60.0)
        self.silent_until = max(self.silent_until, until)

    @precondition(lambda self: self.in_flight > 0)
    @rule()
    def break_off(self) -> None:
        """A request ends without any answer."""
        self.in_flight -= 1
        self.pacer.back()

    @precondition(lambda self: self.in_flight > 0)
    @rule()
    def take_back(self) -> None:
        """A request that was let out was not sent after all."""
        self.in_flight -= 1
        self.pacer.take_back()
        self.sent.pop()

    @rule(step=st.floats(0.0, 0.2) | st.floats(0.0, 100.0))
    def pass_time(self, step: float) -> None:
        """Time passes: a little, or the process is held up."""
        self.now += step

    @rule(wanted=st.integers(1, 100))
    def sleep_as_told(self, wanted: int) -> None:
        """Sleep for as long as the pacer says."""
        delay = self.pacer.delay(self.now, wanted)
        if delay is None:
            assert self.in_flight == self.limits.max_in_flight
        else:
            assert 0.0 <= delay <= 60.0 + 16.0 / (self.limits.max_rate or 1.0)
            self.now += delay

    @invariant()
    def keeps_the_limits(self) -> None:
        """Slots and rate hold in every second, and the rate within its range."""
        rate = self.limits.max_rate or 0.0
        allowed = rate + max(1.0, SAVED_UP * rate) + EPSILON
        current = self.pacer.rate or 0.0

        assert self.in_flight == self.pacer.in_flight <= self.limits.max_in_flight
        assert rate / 16 * (1 - EPSILON) <= current <= rate
        assert most_in_a_second(self.sent) <= allowed


PacerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestPacer = PacerMachine.TestCase


@given(
    st.floats(0.5, 200.0),
    st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 400)), max_size=40),
)
@example(50.0, [(0.0, 400), (1.0, 400), (0.9, 400), (0.1, 400)])
def test_no_second_sees_more_than_the_rate_and_what_is_saved_up(
    max_rate: float, arrivals: list[tuple[float, int]]
) -> None:
    """However requests arrive, any window of a second keeps the budget."""
    this = door(max_rate)
    for step, wanted in arrivals:
        this.now += step
        this.leave(wanted)

    allowed = max_rate + max(1.0, SAVED_UP * max_rate) + EPSILON
    assert most_in_a_second(this.sent) <= allowed


def test_ten_thousand_at_once_leave_at_the_rate() -> None:
    """A herd is stretched out: never more in a second, never a gap."""
    this, random = door(), Random(4)
    while len(this.sent) < 10_000:
        this.leave(10_000 - len(this.sent))
        delay = this.pacer.delay(this.now, 10_000 - len(this.sent))
        # Timers fire late, by up to a hundredth of a second.
        this.now += (delay or 0.0) + 0.01 * random.random()

    assert most_in_a_second(this.sent) <= 55
    assert this.now == pytest.approx(10.0 + 200.0, rel=0.02)
