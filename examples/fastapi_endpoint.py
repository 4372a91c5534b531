"""An endpoint that waits: clients ask once, and are answered when there is news.

    pip install camb-async fastapi uvicorn
    CAMB_API_KEY=... python examples/fastapi_endpoint.py
    curl http://127.0.0.1:8000/voices/TASK_ID

Without a key it rehearses with the simulator, which knows the task "rehearsal".
Add a check of your own who may ask for which task: here, knowing its id will do.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response

from camb_async import (
    APIStatusError,
    CambSession,
    DeadlineExceededError,
    InvalidTaskIdError,
    TaskError,
    TaskWatcher,
)
from camb_async.simulator import ThreadedSimulator


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Share one session and one watcher among all requests."""
    async with CambSession() as camb, camb.watch(keep_open=True) as watcher:
        app.state.watcher = watcher
        yield


app = FastAPI(lifespan=lifespan)


def get_watcher(request: Request) -> TaskWatcher:
    """Return the watcher of this process."""
    watcher: TaskWatcher = request.app.state.watcher
    return watcher


@app.get("/voices/{task_id}")
async def wait_for_voice(
    task_id: str,
    response: Response,
    watcher: Annotated[TaskWatcher, Depends(get_watcher)],
    seconds: float = 20.0,
) -> dict[str, str | int | None]:
    """Answer when the voice is ready, or 202 after some seconds: ask again.

    A thousand clients that wait for the same task cost no more polls than one.
    """
    try:
        state = await watcher.wait(task_id, deadline=min(max(seconds, 0.0), 60.0))
    except DeadlineExceededError as error:
        response.status_code = 202
        return {"status": error.state.raw_status if error.state else None}
    except TaskError as error:
        return {"status": error.state.raw_status}
    except InvalidTaskIdError as error:
        raise HTTPException(422, str(error)) from error
    except APIStatusError as error:
        unknown = error.status_code in {404, 422}
        raise HTTPException(404 if unknown else 502, "No such task.") from error
    return {"status": state.raw_status, "run_id": state.run_id}


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    if "CAMB_API_KEY" in os.environ:
        uvicorn.run(app, port=port)
    else:
        print("CAMB_API_KEY is not set: rehearsing with the simulator.", flush=True)
        with ThreadedSimulator() as simulator:
            os.environ["CAMB_API_KEY"] = simulator.api_key
            os.environ["CAMB_BASE_URL"] = simulator.base_url
            simulator.add_task("rehearsal", after=3)
            uvicorn.run(app, port=port)
