"""The numbers of a batch, and the last words about it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import attrs

from camb_async import TaskStatus

from .batch import Batch, Result
from .ledger import Stage


_FAILURES_SHOWN = 20


@attrs.frozen(kw_only=True)
class Tally:
    """How many rows are how far; ``statuses`` counts what their tasks say."""

    total: int
    created: int
    finished: int
    downloaded: int
    succeeded: int
    unanswered: int
    in_trouble: int
    statuses: Counter[TaskStatus | None]

    @classmethod
    def of(cls, batch: Batch) -> Tally:
        """Count the rows of a batch as they are now."""
        stages: Counter[Stage] = Counter()
        statuses: Counter[TaskStatus | None] = Counter()
        succeeded = 0
        for number in batch.rows:
            progress = batch.progress(number)
            stages[progress.stage] += 1
            if progress.finished is not None:
                succeeded += progress.finished.error is None
                statuses[progress.finished.status] += 1
            elif progress.task is not None:
                statuses[batch.statuses.get(number)] += 1
        finished = stages[Stage.FINISHED] + stages[Stage.DOWNLOADED]
        return cls(
            total=len(batch.rows),
            created=finished + stages[Stage.CREATED],
            finished=finished,
            downloaded=stages[Stage.DOWNLOADED],
            succeeded=succeeded,
            unanswered=stages[Stage.UNANSWERED],
            in_trouble=len(batch.troubles),
            statuses=statuses,
        )


@attrs.frozen(kw_only=True)
class Spread:
    """What half, and what nine of ten, stay below; the most; in seconds."""

    p50: float
    p90: float
    longest: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread | None:
        """Return the spread of some times; None if there are none."""
        if not seconds:
            return None
        return cls(
            p50=percentile(seconds, 0.5),
            p90=percentile(seconds, 0.9),
            longest=max(seconds),
            count=len(seconds),
        )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@attrs.frozen(kw_only=True)
class Report:
    """What became of a batch."""

    tally: Tally
    to_finish: Spread | None
    lateness: Spread | None
    polls: int
    files: int
    failures: tuple[Result, ...]
    unsent: int
    unfinished: int

    @classmethod
    def of(cls, batch: Batch) -> Report:
        """Return the numbers of a batch as they are now."""
        results = [batch.result(number) for number in batch.rows]
        ended = [result for result in results if result.status is not None]
        late = [each.uncertainty for each in ended if each.uncertainty is not None]
        return cls(
            tally=Tally.of(batch),
            to_finish=Spread.of([e.elapsed for e in ended if e.elapsed is not None]),
            lateness=Spread.of(late),
            polls=sum(result.polls for result in ended),
            files=sum(len(result.files) for result in results),
            failures=tuple(result for result in results if result.error is not None),
            unsent=sum(
                number not in batch.troubles for number in batch.numbers(Stage.WAITING)
            ),
            unfinished=sum(
                number not in batch.troubles
                and not batch.progress(number).is_over
                and batch.progress(number).task is not None
                for number in batch.rows
            ),
        )

    def lines(self) -> list[str]:
        """Return the report as text."""
        tally = self.tally
        here = f"{tally.downloaded} of {tally.total} voices are here"
        lines = [f"{here}, in {self.files} files"]
        lines += [f"  {text}" for text in self._counts()]
        lines += self._times()
        if self.failures:
            lines += ["", f"{len(self.failures)} did not succeed:"]
            shown = self.failures[:_FAILURES_SHOWN]
            width = max(len(result.name) for result in shown)
            lines += [f"  {_line_of(result, width)}" for result in shown]
            if len(shown) < len(self.failures):
                lines.append(f"  ... and {len(self.failures) - len(shown)} more")
        return lines

    def _counts(self) -> list[str]:
        counts = [
            f"{status.guidance.icon} {status:<17}{count:>5}  {status.guidance.action}"
            for status, count in self.tally.statuses.most_common()
            if status is not None and status.is_final
        ]
        others = (
            ("still under way", self.unfinished),
            ("not sent", self.unsent),
            ("unknown", self.tally.unanswered),
        )
        counts += [f"·  {what:<17}{count:>5}" for what, count in others if count]
        return counts

    def _times(self) -> list[str]:
        lines: list[str] = []
        for what, spread in (
            ("time to finish", self.to_finish),
            ("noticed late by", self.lateness),
        ):
            if spread is not None:
                lines.append(
                    f"{what:<16}p50 {spread.p50:6.1f} s   p90 {spread.p90:6.1f} s   "
                    f"longest {spread.longest:6.1f} s"
                )
        if self.tally.finished:
            each = self.polls / self.tally.finished
            lines.append(f"{'polls':<16}{self.polls}, {each:.1f} for each task")
        return lines


def _line_of(failure: Result, width: int) -> str:
    name = f"row {failure.row:<4} {printable(failure.name):<{width}}"
    if failure.status is None or failure.status == TaskStatus.SUCCESS:
        return f"⚠️ {name}  {failure.advice}: {printable(failure.error)}"
    icon = TaskStatus(failure.status).guidance.icon
    reasons = dict.fromkeys((failure.status, failure.reason or failure.status))
    why = " ".join(map(printable, reasons))
    return f"{icon} {name}  {failure.advice} ({why})"


def printable(text: object) -> str:
    """Return a text in one line that a terminal takes as nothing but text."""
    return "".join(each if each.isprintable() else " " for each in str(text))
