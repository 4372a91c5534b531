"""A picture of a batch: when tasks finished, and how late that was noticed."""

# pyright: reportUnknownMemberType=false
# (matplotlib's methods take keywords that it does not type)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .report import Spread
from .timeline import Timeline


_INK = "#1f2937"
_QUIET = "#6b7280"
_FAINT = "#e5e7eb"
_CREATED = "#9ca3af"
_GOOD = "#0f766e"
_BAD = "#dc2626"

#: Seconds beyond which a time is told in a larger unit.
_MINUTES_FROM, _HOURS_FROM = 240.0, 4 * 3600.0
#: Lines that are nearer than this share of the height would share their labels' place.
_APART = 0.08
#: Beyond so many tasks, points are small.
_MANY = 150

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _QUIET,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    # The same batch makes the same file.
    "svg.hashsalt": "batch_monitor",
}


def draw(timeline: Timeline, path: Path) -> None:
    """Draw a timeline into a file: SVG or PNG, by its extension.

    Raises:
        ValueError: the extension is none that can be drawn.
        OSError: the file cannot be written.
    """
    unit, seconds = _unit(timeline.end)
    timeline = timeline.in_units_of(seconds)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 6.4), dpi=150, facecolor="white")
        upper, lower = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (5, 3)}
        )
        _draw_counts(upper, timeline)
        _draw_lateness(lower, timeline, unit)
        for axes in (upper, lower):
            for joint in timeline.resumed:
                axes.axvline(joint, color=_QUIET, linewidth=0.9, linestyle=(0, (2, 3)))
        figure.subplots_adjust(left=0.08, right=0.9, top=0.9, bottom=0.1, hspace=0.3)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, metadata=metadata)


def _draw_counts(axes: Axes, timeline: Timeline) -> None:
    marks = timeline.marks
    end = timeline.end or 1.0
    noticed = [mark.at for mark in marks]
    earliest = sorted(mark.may_have_ended for mark in marks)
    size = 34 if len(marks) < _MANY else 9
    _title(axes, "Tasks finished", _counted(timeline))
    _steps(axes, timeline.created, end, _CREATED, "created", width=1.4)
    if marks:
        axes.fill_betweenx(
            range(len(marks) + 1),
            [earliest[0], *earliest],
            [noticed[0], *noticed],
            step="pre",
            color=_GOOD,
            alpha=0.16,
            linewidth=0,
            label="when it may have happened",
        )
    _steps(axes, noticed, end, _GOOD, "finished, as noticed", width=2.2)
    failed = [(m.at, n) for n, m in enumerate(marks, start=1) if not m.succeeded]
    if failed:
        xs, ys = _columns(failed)
        axes.scatter(
            xs, ys, s=size, color=_BAD, edgecolor="white", zorder=4, label="failed"
        )
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, end * 1.02)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    # Curves that only rise leave this corner free.
    axes.legend(loc="lower right", frameon=False, labelcolor=_QUIET, fontsize=9.5)


def _draw_lateness(axes: Axes, timeline: Timeline, unit: str) -> None:
    known = [
        (mark.at, mark.lateness, mark.succeeded)
        for mark in timeline.marks
        if mark.lateness is not None
    ]
    spread = Spread.of([lateness for _, lateness, _ in known])
    size = 22 if len(known) < _MANY else 7
    note = "the time between the poll that saw the end and the one before it"
    _title(axes, "Noticed late by at most", note)
    for good, color in ((True, _GOOD), (False, _BAD)):
        xs, ys = _columns([(at, late) for at, late, ok in known if ok is good])
        axes.vlines(xs, 0, ys, color=color, alpha=0.3, linewidth=size / 18)
        axes.scatter(
            xs, ys, s=size, color=color, edgecolor="white", linewidth=size / 40
        )
    if spread is not None:
        lines = [("p90", spread.p90)]
        if spread.p90 - spread.p50 > _APART * spread.longest:
            lines.append(("p50", spread.p50))
        for share, value in lines:
            axes.axhline(value, color=_QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(
                f"{share} {value:.1f} s",
                (1, value),
                (6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=_QUIET,
                va="center",
                fontsize=9,
            )
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.set_ylabel("seconds")
    axes.set_xlabel(f"{unit} of work since the batch began")


def _unit(end: float) -> tuple[str, float]:
    """Return a unit of time for so many seconds, and the seconds in it."""
    if end > _HOURS_FROM:
        return "hours", 3600.0
    return ("minutes", 60.0) if end > _MINUTES_FROM else ("seconds", 1.0)


def _title(axes: Axes, title: str, note: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12.5, pad=22)
    axes.annotate(
        note,
        (0, 1),
        (0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        color=_QUIET,
        fontsize=9.5,
    )


def _counted(timeline: Timeline) -> str:
    failed = sum(not mark.succeeded for mark in timeline.marks)
    parts = [
        f"{len(timeline.created)} created",
        f"{len(timeline.marks) - failed} succeeded",
        f"{failed} failed",
    ]
    if timeline.resumed:
        times = len(timeline.resumed)
        parts.append(f"resumed {times} time{'s' if times > 1 else ''} (dotted)")
    return " · ".join(parts)


def _steps(
    axes: Axes,
    times: Sequence[float],
    end: float,
    color: str,
    label: str,
    *,
    width: float,
) -> None:
    counts = [0, *range(1, len(times) + 1), len(times)]
    axes.step(
        [0.0, *times, end],
        counts,
        where="post",
        color=color,
        linewidth=width,
        label=label,
    )


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
