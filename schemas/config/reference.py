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
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from schemas import config
from schemas.config import (
    ATTRIBUTE_NAMES,
    EXPRESSION_NAMES,
    Config,
    Secret,
    centre_options,
    connectors,
    consent_options,
    dsr_options,
    field_options,
    identity_options,
    machinery,
    rules,
)
from schemas.units import Duration, Size

Said = dict[tuple[str, str], str]

_HEAD = """# Configuration

<!-- Written by `python -m schemas.config.reference`; change schemas/config/ instead. -->

One TOML file, given as `-c FILE`; without it the packaged `deploy/millrace.toml`, which shows every
option, applies. `millrace check FILE` lists every error with its line, or what is active. Unknown keys
are errors; so is what can be read but cannot be meant: an expression that asks for a tag, segment,
stage or group that does not exist, a segment that no customer can enter, a webhook to this machine
without `allow_private`. An event that is named in one place only, and resembles another, is a warning.
`reload` refuses the same.

- A duration is written `200ms`, `30s`, `5m`, `12h`, `90d` or `2w`; a size `512B`, `32KB` or `4MB`.
- Text outside the rules (`aggregate`, `value`, `age`, `lifecycle`, `segment`, `tag`, `churn`, `model`,
  `trigger`) may hold `${NAME}`, which is taken from the environment. Secrets are only written
  this way.
- The data folder and plan schemas are relative to the file (with the packaged file: to the current
  folder); keys and file connectors are relative to the data folder.
"""

_EXPRESSIONS = """## Expressions

`when` is an expression in a safe part of Python's syntax, checked when the file is read:

- `and`, `or`, `not`, `A if CONDITION else B`
- `==`, `!=`, `<`, `<=`, `>`, `>=`, also chained: `1 < orders <= 5`
- `"vip" in tags`, `stage in ("new", "active")`, `not in`
- `+`, `-`, `*`, `/`, `%` with numbers; numbers, `"texts"`, `True`, `False`, `None`
- `min(a, b)`, `max(a, b)`, `abs(a)`, `round(a, digits)`, `len(text or set)`, `lower(text)`,
  `upper(text)`, `startswith(text, "p")`, `contains(text, "s")`, `coalesce(a, b)` (the first that is
  there), `has(name)` (whether it is)

A value that is missing makes a calculation missing and any comparison but `==` and `!=` False; so do a
division by zero and a value of the wrong type. A text that reads as a number is one, as in figures:
`"620"`, `"1,620.00"`, `"¥620"`, `"40.90元"`, `"1.620,00"`, `"40,90"` (`"1,620"` is grouped by thousands;
`"6_20"` is not a number). Two texts are compared as numbers where both are, by `==` as they are written.

Names are looked for as they are spelled: `properties.ＶＩＰ等级` is not `VIP等级`. An expression has at most
2,000 characters and may be 48 deep.

Each aggregate is a name: `count`, `sum` and `distinct` are numbers, `min` and `max` numbers that may be
missing, `last` may be anything, `top_k` is a set. An amount beyond 1e9 does not count; a sum beyond
9.2e12, of either sign, begins again at the other end. Besides them there are:
"""


def reference() -> str:
    """Return the whole page."""
    modules = (
        config,
        field_options,
        consent_options,
        centre_options,
        dsr_options,
        identity_options,
        machinery,
        connectors,
        rules,
    )
    sources = map(inspect.getsource, modules)
    options = _section(Config, "", comments("\n".join(sources)))
    parts = [_HEAD, *options, _EXPRESSIONS, _named(EXPRESSION_NAMES), _FACETS + _attributes()]
    return "\n".join(parts)


def comments(source: str) -> Said:
    """Return {(class, field): what is said of it} of a module's source: the comment behind the field, or the
    lines of comment above it."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    said = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    alone = {
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
    }
    return {
        (node.name, field.target.id): _behind(field, said) or " ".join(_above(field.lineno, said, alone))
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _behind(field: ast.AnnAssign, said: dict[int, str]) -> str:
    return said.get(field.lineno) or said.get(field.end_lineno or field.lineno, "")


def _above(line: int, said: dict[int, str], alone: set[int]) -> list[str]:
    first = line
    while first - 1 in alone:
        first -= 1
    return [said[above] for above in range(first, line)]


def _section(table: type[msgspec.Struct], path: str, said: Said) -> Iterator[str]:
    """Yield the table of the table's own keys, then a section for each table in it."""
    inner = []
    own = []
    for field in msgspec.structs.fields(table):
        elements, is_list = _structs_in(field.type)
        if elements:
            below = f"{path}.{field.name}".lstrip(".")
            inner.append((elements, f"[[{below}]]" if is_list else f"[{below}]", below))
        else:
            own.append(_field(table, field, said))
    if own:
        yield _table(own)
    for elements, title, below in inner:
        if len(elements) == 1:
            yield f"## {title}\n\n{inspect.getdoc(elements[0])}\n"
            yield from _section(elements[0], below, said)
        else:
            yield from _union(elements, title, said)


def _union(members: Sequence[type[msgspec.Struct]], title: str, said: Said) -> Iterator[str]:
    """Yield what all types of a table have in common, then what each has besides."""
    base = members[0].__base__
    assert base is not None
    assert issubclass(base, msgspec.Struct)
    tag_field = members[0].__struct_config__.tag_field
    tags = [str(member.__struct_config__.tag) for member in members]
    common = msgspec.structs.fields(base)
    rows = [_field(base, field, said) for field in common]
    rows.insert(1, _row(f"`{tag_field}`", " or ".join(f'`"{tag}"`' for tag in tags), "needed", "which kind"))
    yield f"## {title}\n\n{inspect.getdoc(base)}\n"
    yield _table(rows)
    shared = {field.name for field in common}
    for member, tag in zip(members, tags, strict=True):
        own = [field for field in msgspec.structs.fields(member) if field.name not in shared]
        yield f'### {title}, {tag_field} = "{tag}"\n\n{inspect.getdoc(member)}\n'
        yield _table([_field(member, field, said) for field in own])


def _table(rows: Sequence[str]) -> str:
    head = _row("key", "type", "default", "meaning"), _row("---", "---", "---", "---")
    return "\n".join((*head, *rows)) + "\n"


def _field(table: type[msgspec.Struct], field: msgspec.structs.FieldInfo, said: Said) -> str:
    owner = next(base.__name__ for base in table.__mro__ if field.name in inspect.get_annotations(base))
    return _row(f"`{field.name}`", _type(field.type), _default(field), said[owner, field.name])


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "needed"
    value = field.default_factory() if callable(field.default_factory) else field.default
    return "" if value is None else f"`{_toml(value)}`"


# What facets add lies above this floor; a test holds it to them.
_FACETS = """
Facets add names of their own, unless an aggregate is called so; kept from when rules first name them:

| name | type | meaning |
| --- | --- | --- |
| `streak` | number | days in a row with activity, UTC |
"""


_ATTRIBUTES = """
So do the attributes in `privacy.attributes`, which may be missing:
"""


def _attributes() -> str:
    return _ATTRIBUTES + "\n" + _named(ATTRIBUTE_NAMES)


def _named(names: Mapping[str, tuple[str, str]]) -> str:
    head = _row("name", "type", "meaning") + "\n" + _row("---", "---", "---")
    rows = (_row(f"`{name}`", kind, meaning) for name, (kind, meaning) in names.items())
    return "\n".join([head, *rows]) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _structs_in(kind: Any) -> tuple[list[type[msgspec.Struct]], bool]:
    """Return the table that a field holds, or holds a list of; several where its type says which."""
    if get_origin(kind) is tuple:
        return _structs_in(get_args(kind)[0])[0], True
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return [each for each in members if isinstance(each, type) and issubclass(each, msgspec.Struct)], False


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
