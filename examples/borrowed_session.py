"""Use the aiohttp session that your program has anyway, traced or behind a proxy.

    CAMB_API_KEY=... python examples/borrowed_session.py TASK_ID...

Without a key it rehearses with the simulator. CambSession borrows the session: it
never closes it, and the key goes with CambSession's own requests only.
"""

from __future__ import annotations

import asyncio
import os
import sys
from time import monotonic
from types import SimpleNamespace

import aiohttp

from camb_async import CambError, CambSession
from camb_async.simulator import ThreadedSimulator


async def on_start(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestStartParams,
) -> None:
    """Note when a request leaves."""
    context.began = monotonic()


async def on_end(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceRequestEndParams,
) -> None:
    """Say what came of it; the path, since a query may hold a signature."""
    took = (monotonic() - context.began) * 1000
    print(f"{params.response.status} in {took:.0f} ms: {params.url.path}")


async def main(task_ids: list[str]) -> None:
    """Make one session for everything, and lend it."""
    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_start)
    trace.on_request_end.append(on_end)
    # trust_env: HTTPS_PROXY is respected, which is off unless you ask for it.
    async with (
        aiohttp.ClientSession(trace_configs=[trace], trust_env=True) as session,
        CambSession(client_session=session) as camb,
    ):
        for task_id in task_ids:
            try:
                state = await camb.get_task_status(task_id)
            except CambError as error:
                print(f"{task_id}: {error}")
            else:
                print(f"{task_id}: {state.status.guidance.icon} {state.raw_status}")


if __name__ == "__main__":
    if "CAMB_API_KEY" in os.environ:
        asyncio.run(main(sys.argv[1:]))
    else:
        print("CAMB_API_KEY is not set: rehearsing with the simulator.")
        with ThreadedSimulator() as simulator:
            os.environ["CAMB_API_KEY"] = simulator.api_key
            os.environ["CAMB_BASE_URL"] = simulator.base_url
            tasks = [simulator.add_task(after=after) for after in (0, 60)]
            asyncio.run(main([*tasks, "unknown-task"]))
