"""Plain data (from TOML or JSON) into the frozen structs of `schemas.config`, strictly, with every error at
once.

`msgspec.convert` stops at the first error, so this walks tables, arrays and fields itself and leaves only the
single values to it. A place that is wrong keeps its default (or a blank of its type), so that what comes
after can be checked too; `faults` says which places those are.
"""

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from schemas.config import Rules, Secret
from schemas.config.locate import Path
from schemas.units import Duration, Size

NOT_THERE = "the environment has no "
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WORDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}


class Decoded(msgspec.Struct, frozen=True):
    """`value` is of the type asked for even where `faults` has entries."""

    value: Any
    faults: dict[Path, str]


def decode(kind: Any, data: Any, environment: Mapping[str, str] | None = None) -> Decoded:
    """Decode `data` as a `kind`. With an environment, `${NAME}` in text outside the rules is taken from
    it."""
    walk = _Walk(environment)
    value = walk.any(kind, data, ())
    return Decoded(value, walk.faults)


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


class _Walk:
    def __init__(self, environment: Mapping[str, str] | None) -> None:
        self.environment = environment
        self.faults: dict[Path, str] = {}

    def any(self, kind: Any, data: Any, path: Path) -> Any:
        origin = get_origin(kind)
        if origin in (
            Union,
            types.UnionType,
        ):  # only `X | None`: TOML has no null, and canonical JSON leaves it out
            return self.any(get_args(kind)[0], data, path)
        if origin is Annotated and get_origin(get_args(kind)[0]) is tuple:
            return self.array(get_args(get_args(kind)[0])[0], data, path, at_least=1)
        if origin is tuple:
            return self.array(get_args(kind)[0], data, path, at_least=0)
        if origin is dict:
            return self.mapping(get_args(kind)[1], data, path)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.table(kind, data, path)
        if origin is Literal:
            return self.choice(get_args(kind), data, path)
        return self.leaf(kind, data, path)

    def table(self, kind: type[msgspec.Struct], data: Any, path: Path) -> Any:
        if not isinstance(data, dict):
            return self.fault(kind, path, f"expected a table, got {_named(data)}")
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        for key in data.keys() - fields.keys():
            self.faults[*path, key] = f"unknown key `{key}`{suggest(key, fields)}"
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if name in data:
                found = len(self.faults)
                value = self.any(field.type, data[name], (*path, name))
                if (
                    len(self.faults) == found
                    or field.required
                    or isinstance(value, (msgspec.Struct, tuple, dict))
                ):
                    values[name] = value
            elif field.required:
                self.faults[*path, name] = f"`{name}` is missing"
                values[name] = _blank(field.type)
        return kind(**values)

    def array(self, kind: Any, data: Any, path: Path, at_least: int) -> Any:
        if not isinstance(data, list):
            return self.fault(tuple, path, f"expected a list, got {_named(data)}")
        if len(data) < at_least:
            self.faults[path] = "expected at least one element"
        return tuple(self.any(kind, element, (*path, index)) for index, element in enumerate(data))

    def mapping(self, kind: Any, data: Any, path: Path) -> Any:
        if not isinstance(data, dict):
            return self.fault(dict, path, f"expected a table, got {_named(data)}")
        return {key: self.any(kind, value, (*path, key)) for key, value in data.items()}

    def choice(self, known: tuple[str, ...], data: Any, path: Path) -> Any:
        if data in known:
            return data
        near = suggest(data, known) if isinstance(data, str) else ""
        self.faults[path] = f"expected one of {', '.join(known)}; got {_named(data)}{near}"
        return known[0]

    def leaf(self, kind: Any, data: Any, path: Path) -> Any:
        if isinstance(data, str):
            data = self.interpolate(data, path)
            if path in self.faults:
                return _blank(kind)
        if kind is Secret:
            return Secret(data) if isinstance(data, str) else self.fault(kind, path, "expected text")
        if kind is Duration or kind is Size:
            return self.unit(kind, data, path)
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            return self.fault(kind, path, _explain(kind, str(error), data))

    def unit(self, kind: type[Duration] | type[Size], data: Any, path: Path) -> Any:
        try:
            value = kind.parse(data if isinstance(data, str) else str(data))
        except ValueError as error:
            return self.fault(kind, path, str(error))
        return value if value > 0 else self.fault(kind, path, "must be more than nothing")

    def interpolate(self, text: str, path: Path) -> str:
        if self.environment is None or path[0] in Rules.__struct_fields__:
            return text
        missing = [name for name in _VARIABLE.findall(text) if name not in self.environment]
        if missing:
            self.faults[path] = f"{NOT_THERE}{' and no '.join(missing)}"
        return _VARIABLE.sub(lambda match: (self.environment or {}).get(match[1], ""), text)

    def fault(self, kind: Any, path: Path, message: str) -> Any:
        self.faults[path] = message
        return _blank(kind)


def _blank(kind: Any) -> Any:
    """Something of this type, to stand where the real value is wrong or missing."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return None
    if origin is Annotated:
        return _blank(get_args(kind)[0])
    if origin is Literal:
        return get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(
            **{field.name: _blank(field.type) for field in msgspec.structs.fields(kind) if field.required}
        )
    return (origin or kind)()


def _named(data: Any) -> str:
    if isinstance(data, bool):
        return str(data).lower()
    if isinstance(data, (str, int, float)):
        return repr(data) if len(repr(data)) <= 60 else f"{repr(data)[:57]}..."
    return (
        "a list"
        if isinstance(data, list)
        else "a table"
        if isinstance(data, dict)
        else f"a {type(data).__name__}"
    )


def _explain(kind: Any, message: str, data: Any) -> str:
    """msgspec's message in the words of the reference: Expected `int` >= 1 -> expected a whole number >= 1,
    got 0."""
    meta = getattr(kind, "__metadata__", ())
    expected = (
        meta[0].description
        if meta and meta[0].description
        else message.split(", got ")[0].removeprefix("Expected ")
    )
    return f"expected {re.sub(r'`(int|float|str|bool)`', lambda match: _WORDS[match[1]], expected)}, got {_named(data)}"
