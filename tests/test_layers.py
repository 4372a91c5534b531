"""Who may import whom, read from the sources themselves.

Each module belongs to one layer. Values know nothing but attrs; the wire adds
cattrs; HTTP and the watcher stand side by side and are blind to each other; the
session joins them. What stands outside uses the public names like anybody.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import attrs
import pytest

import camb_async


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "camb_async"

# Downwards: each may import those before it.
VALUES = (
    "errors",
    "kinds",
    "models",
    "policies",
    "schedules",
    "_budget",
    "_durations",
    "_estimate",
    "_breakeven",
    "_drift",
    "_experience",
    "_recall",
    "adaptive",
    "_guard",
    "_tracking",
    "_agenda",
    "_ranking",
    "_pacing",
)
WIRE = ("_refusals", "_wire")
HTTP = (
    "_version",
    "_settings",
    "_limiter",
    "_timeouts",
    "_tracing",
    "_audio",
    "_files",
    "_links",
    "_connections",
    "_transport",
    "_calls",
    "_statuses",
    "_fetching",
    "_downloads",
)
WATCHING = ("_watch", "_outbox", "_pollers", "_engine", "watcher")
STORES = (
    "stores._forms",
    "stores._ledger",
    "stores._signal",
    "stores._delivery",
    "stores._insisting",
    "stores._protocol",
    "stores._reading",
    "stores._base",
    "stores._worker",
    "stores._database",
    "stores._thread",
    "stores._sqlite",
    "stores._statements",
    "stores._server",
    "stores._records",
    "stores._leased_reader",
    "stores._postgres",
    "stores._where",
    "stores",
)
TOP = ("session", "__init__")
#: What decides in a store: nothing there reads a clock either.
STORED_VALUES = STORES[:2]

# Reading a clock, an environment or the world is for the layers above.
WORLDLY = {
    "asyncio",
    "concurrent",
    "os",
    "pathlib",
    "secrets",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "uuid",
}
# A value may have a path in it; a schedule owns the source of its jitter.
EXCUSED = {
    ("models", "pathlib"),
    ("schedules", "random"),
    ("adaptive", "random"),
    ("_experience", "random"),
}


@attrs.frozen
class Import:
    """One import: the module it is from, and the name, if it imports a name."""

    module: str
    name: str | None = None

    @property
    def top(self) -> str:
        """The package the module is in."""
        return self.module.partition(".")[0]

    @property
    def own(self) -> str | None:
        """The module of camb_async that is meant; None for one of another's."""
        if self.top != "camb_async":
            return None
        return self.module.removeprefix("camb_async").lstrip(".") or self.name


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, but not into what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from statements(node)


def imports_of(path: Path) -> list[Import]:
    """Return what a source file imports, with relative names resolved."""
    found: list[Import] = []
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [Import(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [Import(module, alias.name) for alias in node.names]
    return found


def source_of(name: str) -> Path:
    """Return the source file of a module of camb_async."""
    path = PACKAGE.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def own_imports(name: str) -> set[str]:
    """Return the modules of camb_async that a module of it imports."""
    imported = imports_of(source_of(name))
    return {item.own for item in imported if item.own is not None}


def foreign_imports(name: str) -> set[str]:
    """Return the packages that a module imports and that come with neither."""
    tops = {item.top for item in imports_of(source_of(name))}
    return tops - set(sys.stdlib_module_names) - {"camb_async"}


def below(name: str, layer: tuple[str, ...]) -> set[str]:
    """Return what stands before a module in its layer."""
    return set(layer[: layer.index(name)])


def sources(*folders: Path) -> list[Path]:
    """Return the source files in these folders, if they are there."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def from_root(path: Path) -> str:
    """Return how a source file is named from the root."""
    return path.relative_to(ROOT).as_posix()


def run(script: str, *arguments: str) -> set[str]:
    """Run a script in a new interpreter, and return the words it prints."""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-W", "error", "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    return set(done.stdout.split())


def test_every_module_has_a_layer() -> None:
    """A new module must say where it stands, in the tables above."""
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    stores = {f"stores.{path.stem}" for path in (PACKAGE / "stores").glob("_*.py")}
    outside = {"__main__", "pytest_plugin"}

    assert modules - outside == {*VALUES, *WIRE, *HTTP, *WATCHING, *TOP}
    assert stores - {"stores.__init__"} == {*STORES} - {"stores"}


@pytest.mark.parametrize("name", VALUES)
def test_values_import_attrs_and_downwards(name: str) -> None:
    """Errors, models and decisions need nothing that could do I/O."""
    assert foreign_imports(name) <= {"attrs"}
    assert own_imports(name) <= below(name, VALUES)


@pytest.mark.parametrize("name", WIRE)
def test_the_wire_adds_cattrs(name: str) -> None:
    """What an answer means is told from values alone."""
    assert foreign_imports(name) <= {"attrs", "cattrs"}
    assert own_imports(name) <= {"errors", "kinds", "models"} | below(name, WIRE)


@pytest.mark.parametrize("name", [*VALUES, *WIRE, *STORED_VALUES])
def test_the_core_takes_time_and_chance_as_arguments(name: str) -> None:
    """No clock, no random source, no environment, no event loop."""
    path = source_of(name)
    tops = {item.top for item in imports_of(path)}
    used = {top for top in tops & {*WORLDLY, "random"} if (name, top) not in EXCUSED}
    clocks = {
        ast.unparse(node)
        for node in statements(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    }

    assert set() == used
    assert set() == clocks


@pytest.mark.parametrize("name", HTTP)
def test_http_knows_nothing_of_watching(name: str) -> None:
    """Requests are sent with aiohttp, and nobody there knows of anyio."""
    assert foreign_imports(name) <= {"aiohttp", "attrs", "multidict", "yarl"}
    assert own_imports(name) <= {*VALUES, *WIRE, *HTTP}


@pytest.mark.parametrize("name", WATCHING)
def test_watching_knows_nothing_of_http(name: str) -> None:
    """A watcher runs on anyio over any source, and never sees an answer."""
    assert foreign_imports(name) <= {"anyio", "attrs"}
    assert own_imports(name) <= {*VALUES, *WATCHING}


@pytest.mark.parametrize("name", STORES)
def test_stores_work_with_a_watcher_and_know_nothing_of_http(name: str) -> None:
    """A store and its worker run over any source, as a watcher does."""
    watching = {"_watch", "watcher"} if name == "stores._worker" else set[str]()
    server = {"asyncpg"} if name == "stores._server" else set[str]()
    assert foreign_imports(name) <= {"anyio", "attrs", *server}
    assert own_imports(name) <= {*VALUES, *watching} | below(name, STORES)


@pytest.mark.parametrize("name", TOP)
def test_the_session_joins_both_and_nothing_from_outside(name: str) -> None:
    """The client never needs its simulator, its command line or an extra."""
    assert foreign_imports(name) <= {"aiohttp", "anyio", "attrs", "yarl"}
    below_it = {*VALUES, *WIRE, *HTTP, *WATCHING, "session", "stores"}
    assert own_imports(name) <= below_it


def test_no_modules_import_each_other() -> None:
    """There is an order in which all of them can be loaded."""
    modules = {*VALUES, *WIRE, *HTTP, *WATCHING, *STORES, *TOP}
    order = TopologicalSorter({name: own_imports(name) for name in modules})

    assert modules <= set(order.static_order())


@pytest.mark.parametrize("path", sources(PACKAGE / "simulator"), ids=from_root)
def test_the_simulator_is_an_independent_witness(path: Path) -> None:
    """It shares the words of the service with the client, and none of its code."""
    own = {item.own for item in imports_of(path) if item.own is not None}
    others = {name for name in own if name.partition(".")[0] != "simulator"}

    assert others <= {"models", "kinds"}


@pytest.mark.parametrize(
    "path",
    [
        *sources(PACKAGE / "cli", ROOT / "examples"),
        *(PACKAGE / name for name in ("__main__.py", "pytest_plugin.py")),
    ],
    ids=from_root,
)
def test_what_stands_outside_uses_public_names(path: Path) -> None:
    """The command line, the plugin and the examples do what any user can do."""
    if not path.exists():
        return
    used = [
        item
        for item in imports_of(path)
        if item.top == "camb_async" and item.module.split(".")[1:2] != ["cli"]
    ]
    modules = {item.module for item in used}
    assert modules <= {"camb_async", "camb_async.simulator"}

    hidden = [
        item
        for item in used
        if item.name is not None
        and item.name not in importlib.import_module(item.module).__all__
    ]
    assert [] == hidden


# A stand-in for the package, because its own __init__ loads everything.
CORE_ALONE = """
import importlib, sys, types

package = types.ModuleType("camb_async")
package.__path__ = [sys.argv[1]]
sys.modules["camb_async"] = package
for name in sys.argv[2:]:
    importlib.import_module(f"camb_async.{name}")
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_the_core_loads_no_event_loop() -> None:
    """Values and wire can be used where there is neither asyncio nor aiohttp."""
    loaded = run(CORE_ALONE, str(PACKAGE), *VALUES, *WIRE)

    assert {"camb_async", "attrs", "cattrs"} <= loaded
    assert set() == loaded & {"asyncio", "anyio", "aiohttp", "yarl", "multidict"}


def test_importing_the_package_loads_no_server_and_no_extra() -> None:
    """Who only waits for tasks pays for no simulator and no terminal."""
    loaded = run("import sys, camb_async; print(*sys.modules)")

    assert {"camb_async.session", "aiohttp"} <= loaded
    assert set() == {
        name
        for name in loaded
        if name.startswith(("camb_async.simulator", "camb_async.cli", "aiohttp.web"))
        or name.partition(".")[0] in {"typer", "click", "rich", "pytest"}
    }


def test_importing_the_package_loads_no_database() -> None:
    """Who stores nothing does not wait for SQLite."""
    # What measures the coverage of a test may have loaded it before.
    loaded = run(
        "import sys; before = set(sys.modules); import camb_async; "
        "print(*set(sys.modules) - before)"
    )

    assert "camb_async.stores._sqlite" in loaded
    assert set() == loaded & {"sqlite3", "_sqlite3", "camb_async.stores._database"}


def test_importing_the_package_reads_no_settings() -> None:
    """A broken environment is an error of the session, not of the import."""
    names = "CAMB_API_KEY", "CAMB_BASE_URL"
    script = f"""
import os
os.environ.update({{name: "\\x1b no" for name in {names!r}}})
import camb_async
print("fine")
"""

    assert {"fine"} == run(script)


def test_the_tables_are_about_this_package() -> None:
    """The sources that are read here are those that are imported."""
    assert PACKAGE == Path(str(camb_async.__file__)).parent
