"""Writes docs/configuration.md from the structs of `schemas.config` and their comments:

python -m schemas.config.reference > docs/configuration.md
"""

import ast
import inspect
import io
import json
import sys
import tokenize
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from schemas import config
from schemas.config import EXPRESSION_NAMES, Config, Secret, field_options, identity_options, machinery, rules
from schemas.units import Duration, Size

_HEAD = """# Configuration

<!-- Written by `python -m schemas.config.reference`; change schemas/config/ instead. -->

One TOML file, given as `-c FILE`; without it the packaged `deploy/millrace.toml`, which shows every option, holds.
`millrace check FILE` lists every error with its line, or what is active. Unknown keys are errors; so is what can be read and not be
meant: an expression that asks for a tag, segment, stage or group that there is not, a segment that nobody comes into, a webhook to this
machine without `allow_private`. An event that is named in one place only, and resembles another, is a warning. `reload` refuses the same.

- A duration is written `200ms`, `30s`, `5m`, `12h`, `90d` or `2w`; a size `512B`, `32KB` or `4MB`.
- Text outside the rules (`aggregate`, `value`, `lifecycle`, `segment`, `tag`, `churn`, `model`, `trigger`) may hold `${NAME}`,
  which is taken from the environment. Secrets are written only so.
- The data folder and plan schemas are relative to the file (with the packaged file: to the current folder); keys and
  file connectors are relative to the data folder.
"""

_EXPRESSIONS = """## Expressions

`when` is an expression in a safe part of Python's syntax, checked when the file is read:

- `and`, `or`, `not`, `A if CONDITION else B`
- `==`, `!=`, `<`, `<=`, `>`, `>=`, also chained: `1 < orders <= 5`
- `"vip" in tags`, `stage in ("new", "active")`, `not in`
- `+`, `-`, `*`, `/`, `%` with numbers; numbers, `"texts"`, `True`, `False`, `None`
- `min(a, b)`, `max(a, b)`, `abs(a)`, `round(a, digits)`, `len(text or set)`, `lower(text)`, `upper(text)`,
  `startswith(text, "p")`, `contains(text, "s")`, `coalesce(a, b)` (the first that is there), `has(name)` (whether it is)

A value that is missing makes a calculation missing and any comparison but `==` and `!=` False; so do a division by
zero and a value of the wrong type. A text that is a number is one, as it is in figures: `"620"`, `"1,620.00"`, `"¥620"`,
`"40.90元"`, `"1.620,00"`, `"40,90"` (`"1,620"` is grouped by thousands; `"6_20"` is none). Two texts are compared as numbers where
both are, by `==` as they are written.
Names are looked for as they are spelled: `properties.ＶＩＰ等级` is not `VIP等级`.
An expression has at most 2,000 characters and may be 48 deep.

Each aggregate is a name: `count`, `sum` and `distinct` are numbers, `min` and `max` numbers that may be missing, `last`
may be anything, `top_k` is a set. An amount beyond 1e9 does not count; a sum beyond 9.2e12, of either sign, begins again at the
other end. Besides them there are:
"""


def reference() -> str:
    """The whole page."""
    sources = map(inspect.getsource, (config, field_options, identity_options, machinery, rules))
    parts = [_HEAD, *_section(Config, "", comments("\n".join(sources))), _EXPRESSIONS, _names()]
    return "\n".join(parts)


def comments(source: str) -> dict[tuple[str, str], str]:
    """{(class, field): the comment behind it} of a module's source."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    behind = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    return {
        (node.name, field.target.id): behind.get(field.lineno, "")
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _section(table: type[msgspec.Struct], path: str, said: dict[tuple[str, str], str]) -> Iterator[str]:
    """The table's own keys, then a section for each table in it."""
    rows, inner = [], []
    for field in msgspec.structs.fields(table):
        element, is_list = _struct_in(field.type)
        below = f"{path}.{field.name}".lstrip(".")
        if element is not None:
            inner.append((element, f"[[{below}]]" if is_list else f"[{below}]", below))
            continue
        owner = next(base.__name__ for base in table.__mro__ if field.name in inspect.get_annotations(base))
        default = (
            "needed"
            if field.required
            else f"`{_toml(field.default_factory() if callable(field.default_factory) else field.default)}`"
        )
        rows.append(
            _row(
                f"`{field.name}`",
                _type(field.type),
                "" if default == "`None`" else default,
                said[owner, field.name],
            )
        )
    if rows:
        yield (
            _row("key", "type", "default", "meaning")
            + "\n"
            + _row("---", "---", "---", "---")
            + "\n"
            + "\n".join(rows)
            + "\n"
        )
    for element, title, below in inner:
        yield f"## {title}\n\n{inspect.getdoc(element)}\n"
        yield from _section(element, below, said)


def _names() -> str:
    head = _row("name", "type", "meaning") + "\n" + _row("---", "---", "---")
    return (
        "\n".join(
            [head, *(_row(f"`{name}`", kind, meaning) for name, (kind, meaning) in EXPRESSION_NAMES.items())]
        )
        + "\n"
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _struct_in(kind: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The table that a field holds, or holds a list of."""
    if get_origin(kind) is tuple:
        return _struct_in(get_args(kind)[0])[0], True
    return (kind, False) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else (None, False)


def _type(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _type(inner[0])
    if origin is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in inner)
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"table of {_type(inner[1])}"
    if origin is Annotated:
        return _limited(inner[0], inner[1])
    return {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        Secret: "secret",
        Duration: "duration",
        Size: "size",
    }[kind]


def _limited(kind: Any, meta: msgspec.Meta) -> str:
    if meta.description:
        return meta.description
    if get_origin(kind) is tuple:
        return f"{_type(kind)}, at least one"
    above = f"above {meta.gt}" if meta.gt is not None else f"from {meta.ge}"
    below = f" to {meta.le:,}" if meta.le is not None and meta.le < 2**53 else ""
    return f"{_type(kind)} {above}{below}"


def _toml(value: Any) -> str:
    if isinstance(value, (Duration, Size)):
        return json.dumps(str(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:_}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
