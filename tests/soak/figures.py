"""What a process holds: memory, objects by type, file descriptors."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs


_PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class Figures:
    """What this process held at one time, and what it had done by then."""

    polls: int
    failures: int
    seconds: float
    rss: int
    objects: Counter[str]
    fds: int

    def __str__(self) -> str:
        return (
            f"{self.polls:>9,} polls, {self.failures:>7,} failed, "
            f"{self.seconds:6.1f} s: RSS {self.rss / 1e6:.1f} MB, "
            f"{self.objects.total():,} objects, {self.fds} file descriptors"
        )

    def grown(self, before: Figures, allowed: int) -> dict[str, int]:
        """Return the types of which there are more objects than is allowed."""
        more = self.objects - before.objects
        return {name: count for name, count in more.items() if count > allowed}


def figures(polls: int, failures: int, since: float) -> Figures:
    """Return what this process holds now, garbage apart."""
    gc.collect()
    return Figures(
        polls=polls,
        failures=failures,
        seconds=time.monotonic() - since,
        rss=int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
        objects=Counter(type(item).__name__ for item in gc.get_objects()),
        fds=open_files(),
    )


def open_files() -> int:
    """Return how many file descriptors are open, sockets included."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def table(rows: Iterable[Figures]) -> str:
    """Return figures as lines to read."""
    return "\n".join(map(str, rows))
