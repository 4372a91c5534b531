"""Run it: ``python -m examples.web_app``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
import warnings

import uvicorn

from camb_async import (
    CambSession,
    ConfigurationError,
    ShortDescriptionWarning,
    StoreError,
)

from .app import LEASE, LOOPBACK_HOSTS, create_app
from .orders import OrdersError
from .service import is_simulated, open_records


# Seconds that an order under way is given to be answered when the server stops.
# Event streams do not wait for it: they are ended at once.
_GRACE = 3


def main() -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code."""
    arguments = _parse()
    try:
        if not is_simulated():
            CambSession()
            asyncio.run(_try_out(arguments.lease))
        listener = _listen(arguments.host, arguments.port)
    except (ConfigurationError, StoreError, OrdersError, ValueError) as error:
        return _refuse(error)
    except OSError as error:
        where = f"{arguments.host}:{arguments.port}"
        return _refuse(f"{where} cannot be had: {error.strerror}")
    # The page itself tells of a short description, before it is sent.
    warnings.simplefilter("ignore", ShortDescriptionWarning)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    app = create_app(
        hosts=[*LOOPBACK_HOSTS, arguments.host, *arguments.allow_host],
        heartbeat=arguments.heartbeat,
        lease=arguments.lease,
    )
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=_GRACE)
    )
    _greet(listener)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 130
    return 0


async def _try_out(lease: float) -> None:
    """Find out now what would be told later, and less well, by the server's log."""
    async with open_records(lease=lease):
        pass


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.web_app", description="A page that makes voices."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 for any free one"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name by which browsers may ask for the page",
    )
    parser.add_argument(
        "--heartbeat",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="time between two signs of life on each stream",
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=LEASE,
        metavar="SECONDS",
        help="time after which others go on for a server that died (PostgreSQL only)",
    )
    return parser.parse_args()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _greet(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    _say(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    if is_simulated():
        _say("CAMB_API_KEY is not set: the built-in simulator stands in for Camb.ai.")
    _say("Ctrl-C stops it.")


def _say(text: str) -> None:
    print(text, flush=True)


def _refuse(reason: object) -> int:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
