"""A PgBouncer that pools transactions, before a server of tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path


def program() -> str | None:
    """Return where it is; None if it is not installed."""
    return shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@contextlib.contextmanager
def pooled(dsn: str, size: int) -> Generator[str]:
    """Have so many connections before a database; yield the address of the pool."""
    found = program()
    assert found is not None
    server, name = dsn.rpartition("@")[2].split("/")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    # As root it refuses to run.
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(prefix="camb-pgbouncer-") as home:
        settings, log = Path(home, "ini"), Path(home, "log")
        Path(home).chmod(0o755)
        settings.write_text(_settings(server, port, size))
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 - the pool's own program
                [found, *user, settings], stdout=out, stderr=out
            )
        try:
            _wait(port, log)
            yield f"postgresql://camb:secret-canary@127.0.0.1:{port}/{name}"
        finally:
            process.kill()
            process.wait()


def _settings(server: str, port: int, size: int) -> str:
    host, _, server_port = server.partition(":")
    return f"""
[databases]
* = host={host} port={server_port} user=camb
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


def _wait(port: int, log: Path) -> None:
    for _ in range(200):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return
        time.sleep(0.02)
    raise AssertionError(log.read_text()[-2000:])
