"""Workers that are killed, frozen or told to end, and those that take over."""

from __future__ import annotations

import signal
import time
from random import Random

import pytest

from .stage import FREE, HOLDERS, SETTLED, fleet


def test_the_tasks_of_a_killed_worker_go_on(dsn: str) -> None:
    """SIGKILL: another takes them over, and nothing is lost or told twice."""
    with fleet(dsn, step=0.02) as workers:
        workers.add(200)
        [first] = workers.start()
        workers.until("select count(*) > 0 from camb_task where polls > 0")
        workers.start()
        first.kill()
        workers.until_over()
        workers.check(200)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_where_workers_are_killed_twenty_times(dsn: str) -> None:
    """One of three is killed at a random moment, and replaced; twenty times."""
    random = Random(20)
    with fleet(dsn, step=0.02) as workers:
        workers.add(2000)
        running = workers.start(3)
        for _ in range(20):
            time.sleep(random.uniform(0.0, 2.0))
            running.pop(random.randrange(3)).kill()
            running += workers.start()
        workers.until_over(within=60.0)
        workers.check(2000)


@pytest.mark.slow
def test_a_frozen_worker_that_wakes_up_writes_nothing(dsn: str) -> None:
    """SIGSTOP for longer than its lease: what it saw is refused; it begins anew."""
    with fleet(dsn, step=0.03) as workers:
        workers.add(300)
        [frozen] = workers.start()
        workers.until("select count(*) > 200 from camb_task where owner is not null")
        zombie = workers.ask("select id from camb_worker")
        frozen.send_signal(signal.SIGSTOP)
        [other] = workers.start()
        workers.until("select count(*) > 0 from camb_task where owner <> $1", zombie)
        frozen.send_signal(signal.SIGCONT)
        workers.until("select count(*) = 2 from camb_worker")

        assert zombie not in workers.rows("select id from camb_worker")
        other.kill()
        workers.until_over()
        workers.check(300)


def test_a_worker_that_is_terminated_hands_over(dsn: str) -> None:
    """SIGTERM: it ends well, another has the tasks, and no attempt is counted."""
    with fleet(dsn, step=60.0, lease=30.0) as workers:
        workers.add(200)
        [first] = workers.start()
        workers.until("select count(*) = 200 from camb_task where polls > 0")
        workers.start()
        first.send_signal(signal.SIGTERM)
        assert 0 == first.wait(10)
        # Within a lease of half a minute nobody would be declared dead.
        workers.until(SETTLED, within=10.0)
        assert 1 == workers.ask(HOLDERS)


@pytest.mark.slow
def test_a_hand_over_of_thousands_waits_for_no_lease(dsn: str) -> None:
    """From SIGTERM until 2,000 tasks are given back; a lease is half a minute."""
    with fleet(dsn, step=60.0, lease=30.0) as workers:
        workers.add(2000)
        [first] = workers.start()
        workers.until("select count(*) = 2000 from camb_task where polls > 0")
        leaver = workers.ask("select id from camb_worker")
        workers.start()
        first.send_signal(signal.SIGTERM)
        theirs = "select count(*) = 0 from camb_task where owner = $1"
        workers.until(theirs, leaver, within=10.0)
        workers.until(f"select 0 = ({FREE})", within=10.0)


@pytest.mark.slow
@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_may_be_signalled_again_while_it_leaves(
    dsn: str, again: signal.Signals
) -> None:
    """SIGTERM twice is as once; SIGKILL costs a lease. Neither loses a task."""
    random = Random(7)
    with fleet(dsn, step=0.02) as workers:
        workers.add(500)
        for _ in range(5):
            [leaver] = workers.start()
            workers.until("select count(*) > 0 from camb_task where owner is not null")
            leaver.send_signal(signal.SIGTERM)
            time.sleep(random.uniform(0.0, 0.03))
            leaver.send_signal(again)
            assert leaver.wait(10) in {0, -again}
        workers.start()
        workers.until_over()
        workers.check(500)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ten_deploys_in_a_row_make_no_task_a_suspect(dsn: str) -> None:
    """All workers are replaced, one after the other, ten times: no attempt counts."""
    with fleet(dsn, step=60.0, lease=30.0) as workers:
        workers.add(600)
        running = workers.start(3)
        for _ in range(10):
            for _ in range(3):
                running += workers.start()
                leaver = running.pop(0)
                leaver.send_signal(signal.SIGTERM)
                assert 0 == leaver.wait(10)
                assert 1 >= workers.ask("select max(attempts) from camb_task")
        workers.until(SETTLED)
