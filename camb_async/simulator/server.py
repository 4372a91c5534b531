"""The simulator itself: a socket, a log, and the service behind them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import attrs

from camb_async.kinds import TaskKind
from camb_async.models import TaskStatus

from .answers import Answer, Call, WireAnswer
from .faults import Fault
from .faults_wire import refuse
from .loopback import Loopback
from .plan import FaultPlan, Filter
from .previews import PreviewStore
from .routes import PREFIX, find
from .scenarios import Scenario
from .service import Asked, Service
from .tasks import Outcome, ScriptEntry, TaskBook


if TYPE_CHECKING:
    from aiohttp import web


_LOG_LENGTH = 100_000


@attrs.frozen
class Request:
    """One request as it arrived, and what became of it.

    Attributes:
        method: the HTTP method.
        path: the request target byte by byte, with its query.
        headers: what was sent; names are found in any letter case.
        body: the whole body.
        at: the loop time (seconds) at which it was decided how to answer.
        answer: the HTTP status that was sent, or the name of the fault.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    answer: int | str


class Simulator:
    """A stand-in for the service on a loopback port; an async context manager.

    Leaving the block stops the server and cuts off what is still being
    answered. Entering it again goes on with the same tasks, as a restarted
    service would.

    Args:
        scenario: how tasks behave: a Scenario, the name of one of SCENARIOS,
            or None for tasks that all succeed after about two seconds.
        api_key: the only key that is accepted.
        seed: what all chance is drawn from.
        speed: the factor on time: at 10.0, what takes a minute takes 6 seconds.
        port: the port to listen on; 0 for any free one.

    Attributes:
        base_url: where a client is pointed to, known once the block is entered.
        requests: the latest 100,000 requests, the oldest first.

    Raises:
        ValueError: there is no such scenario, or ``speed`` is not above 0.
    """

    def __init__(
        self,
        scenario: Scenario | str | None = None,
        *,
        api_key: str = "simulator-key",
        seed: int = 0,
        speed: float = 1.0,
        port: int = 0,
    ) -> None:
        if speed <= 0:
            message = f"speed must be a number above 0, not {speed!r}"
            raise ValueError(message)
        self.base_url = ""
        self.requests: deque[Request] = deque(maxlen=_LOG_LENGTH)
        self._tasks = TaskBook(Scenario.of(scenario), seed, speed)
        self._previews = PreviewStore(f"simulator/{seed}")
        self._service = Service(self._tasks, self._previews, api_key)
        self._plan = FaultPlan()
        self._stale: WeakSet[asyncio.Transport] = WeakSet()
        self._speed = speed
        self._port = port
        self._loopback: Loopback | None = None

    def __repr__(self) -> str:
        where = self.base_url if self._loopback is not None else "stopped"
        return f"<Simulator {where}, {len(self._tasks)} tasks>"

    @property
    def api_key(self) -> str:
        """The only key that is accepted; set it to revoke the one before."""
        return self._service.api_key

    @api_key.setter
    def api_key(self, api_key: str) -> None:
        self._service.api_key = api_key

    async def __aenter__(self) -> Self:
        if self._loopback is not None:
            message = "This simulator is already running"
            raise RuntimeError(message)
        self._loopback = await Loopback.start(self._handle, self._port)
        self._service.origin = self._loopback.origin
        self.base_url = self._loopback.origin + PREFIX
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loopback, self._loopback = self._loopback, None
        if loopback is not None:
            await loopback.stop()

    def add_task(
        self,
        task_id: str | None = None,
        *,
        kind: TaskKind = TaskKind.TEXT_TO_VOICE,
        status: TaskStatus | str = TaskStatus.SUCCESS,
        after: float = 2.0,
        run_id: int | EllipsisType | None = ...,
        exception_reason: str | None = None,
        message: str | Mapping[str, Any] | None = None,
        answers: Sequence[ScriptEntry] | None = None,
    ) -> str:
        """Add a task without a create call; one of the same id is replaced.

        Args:
            task_id: its id; None draws one.
            kind: its kind, which decides on the paths it is found at.
            status: how it ends. "PENDING" never ends.
            after: seconds until it ends, divided by the simulator's speed.
            run_id: what a success tells; ``...`` stands for a new one.
            exception_reason: what any end but a pending one tells.
            message: the same.
            answers: a script instead: each status request is answered by the
                next entry, and the last one repeats. An entry is a status text,
                a JSON body, a Fault, or the name of one.

        Returns:
            The task's id.

        Raises:
            ValueError: ``answers`` is empty.
            RuntimeError: there is no running event loop.
        """
        outcome = Outcome(
            status=str(status),
            run_id=self._tasks.allocate_run(kind, run_id),
            exception_reason=exception_reason,
            message=message,
        )
        ends_at = asyncio.get_running_loop().time() + after / self._speed
        return self._tasks.add(task_id, kind, outcome, ends_at, answers)

    def fail(
        self,
        fault: Fault | str,
        *,
        times: int | None = 1,
        task_id: str | None = None,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """Have the next requests answered by a fault.

        Args:
            fault: one of FAULTS by name, or with options as a Fault.
            times: how many requests; None for all until ``heal()``.
            task_id: only status requests for this task.
            path: only requests whose path begins so, such as "/text-to-voice/".
            method: only requests of this method: "POST" stands for creates.

        Raises:
            ValueError: there is no such fault, or ``times`` is below 1.
        """
        self._plan.order(Fault.of(fault), times, Filter(task_id, path, method))

    def heal(self) -> None:
        """Forget every fault that was ordered by ``fail``."""
        self._plan.clear()

    def expire_links(self) -> None:
        """Refuse all preview links given out so far; new ones are fine."""
        self._previews.expire()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read() if request.body_exists else b""
        if request.transport in self._stale:
            self._log(request, body, "stale")
            return refuse()
        path, _, query = request.raw_path.partition("?")
        route = find(request.method, path)
        now = asyncio.get_running_loop().time()
        asked = Asked(route, query, request.headers, body, now)
        fault = self._plan.take(request.method, path, route)
        outcome = fault or self._service.answer(asked)
        if isinstance(outcome, Answer):
            self._log(request, body, outcome.status)
            return outcome.response()
        self._log(request, body, outcome.name)
        # A fault that is itself a step of a script takes no further one.
        truth = self._service.told if fault is None else self._service.truth
        return await self._go_wrong(request, outcome, lambda: truth(asked))

    async def _go_wrong(
        self, request: web.BaseRequest, fault: Fault, truth: Callable[[], Answer]
    ) -> web.StreamResponse:
        call = Call(
            path=request.raw_path,
            truth=truth,
            speed=self._speed,
            condemn=lambda: self._condemn(request),
        )
        reply = fault.reply(call)
        if isinstance(reply, WireAnswer):
            return reply
        if reply.delay:
            await call.pause(reply.delay)
        return reply.response()

    def _condemn(self, request: web.BaseRequest) -> None:
        if request.transport is not None:
            self._stale.add(request.transport)

    def _log(self, request: web.BaseRequest, body: bytes, answer: int | str) -> None:
        self.requests.append(
            Request(
                method=request.method,
                path=request.raw_path,
                headers=request.headers,
                body=body,
                at=asyncio.get_running_loop().time(),
                answer=answer,
            )
        )
