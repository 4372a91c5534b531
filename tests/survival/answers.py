"""Probes of good HTTP answers that say something odd."""

from __future__ import annotations

from camb_async.simulator import Fault

from .clients import Client
from .stage import (
    RUN,
    SUCCESS,
    TASK,
    NoEnd,
    Outcome,
    Probe,
    Run,
    ending,
    ridden_out,
    said,
    scripted,
    staged,
)


_MEGABYTE = 1_000_000


async def fetches_no_run(client: Client) -> Outcome:
    """Wait for a SUCCESS without a run id, and go on to the result."""
    async with staged(client) as (simulator, session):
        simulator.add_task(TASK, answers=["success_no_run_id"])
        report = await session.wait(TASK)
        end = await ending(session.links(report.run_id))
        asked = [r.path for r in simulator.requests if "-result/" in r.path]
    paths = ", ".join(f"`{path}`" for path in asked) or "nothing"
    return Outcome(f"{said(end)}, {paths} asked for", not asked)


def hands_out(fault: Fault | str) -> Run:
    """Fetch a result; whatever it hands out should be texts, at least."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, session):
            simulator.add_task(TASK, after=0, run_id=RUN)
            simulator.fail(fault, times=None, path="/text-to-voice-result/")
            end = await ending(session.links(RUN))
        if isinstance(end, Exception):
            return Outcome(said(end), fine=True)
        links = ", ".join(f"`{link!r}`" for link in end) or "no links"
        return Outcome(links, all(isinstance(link, str) for link in end))

    return run


def takes_in(fault: Fault | str) -> Run:
    """Read a status that is far too large."""

    async def run(client: Client) -> Outcome:
        async with staged(client) as (simulator, session):
            simulator.add_task(TASK, answers=[fault])
            end = await ending(session.read(TASK))
        if isinstance(end, Exception):
            return Outcome(said(end), not isinstance(end, NoEnd))
        size = end.size / _MEGABYTE
        return Outcome(f"takes in {size:.0f} MB", size <= 1)

    return run


async def keeps_cookies(client: Client) -> Outcome:
    """Read a status with cookies, then one without."""
    async with staged(client) as (simulator, session):
        simulator.add_task(TASK, answers=[Fault("set_cookie", count=100), "PENDING"])
        for _ in range(2):
            await session.read(TASK)
        sent = simulator.requests[-1].headers.get("Cookie", "")
    count = len(sent.split(";")) if sent else 0
    return Outcome(f"{count} of 100 sent back", count == 0)


PROBES = (
    Probe(9, "A web page with status 200", ridden_out("html_200")),
    Probe(9, "204 without a body", ridden_out("204")),
    Probe(9, "JSON that is called plain text", ridden_out("wrong_type")),
    Probe(10, "JSON that breaks off", ridden_out("bad_json")),
    Probe(10, "Bytes that are not UTF-8", ridden_out("bad_utf8")),
    Probe(10, "100,000 lists inside each other", ridden_out("deep_json")),
    Probe(10, "SUCCESS and a number of 5,000 digits", ridden_out("huge_int")),
    Probe(10, "SUCCESS and a run id of NaN", ridden_out("nan")),
    Probe(10, "PENDING and SUCCESS in one object", ridden_out("dup_keys")),
    Probe(10, "An empty object", ridden_out("empty_object")),
    Probe(11, "QUEUED, which no document has", ridden_out("unknown_status")),
    Probe(11, "`pending` in lower case", ridden_out("lower_case")),
    Probe(11, "A status of null", ridden_out("null_status")),
    Probe(
        12,
        "SUCCESS, then PENDING again",
        scripted("SUCCESS", "PENDING", expected=SUCCESS),
    ),
    Probe(13, "SUCCESS without a run id, then its result", fetches_no_run),
    Probe(13, "A result without previews", hands_out("no_previews")),
    Probe(13, "Previews that are no links", hands_out("bad_previews")),
    Probe(
        42,
        "20 kB that inflate to 20 MB",
        takes_in(Fault("gzip_bomb", size=20 * _MEGABYTE)),
    ),
    Probe(42, "JSON without end", ridden_out("endless_body")),
    Probe(43, "A flood of cookies", keeps_cookies),
    Probe(49, "Fields that nobody has heard of", ridden_out("extra_fields")),
)
