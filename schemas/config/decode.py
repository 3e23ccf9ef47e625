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
    """Return `; did you mean ...?` with the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


class _Walk:
    def __init__(self, environment: Mapping[str, str] | None) -> None:
        self.environment = environment
        self.faults: dict[Path, str] = {}

    def any(self, kind: Any, data: Any, path: Path) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self.one_of(
                [member for member in get_args(kind) if member is not types.NoneType], data, path
            )
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

    def one_of(self, kinds: list[Any], data: Any, path: Path) -> Any:
        """Decode `X | None` (TOML has no null, canonical JSON leaves it out), or a tagged union of tables."""
        if len(kinds) == 1:
            return self.any(kinds[0], data, path)
        if not isinstance(data, dict):
            return self.fault(kinds[0], path, f"expected a table, got {_named(data)}")
        return self.tagged({str(kind.__struct_config__.tag): kind for kind in kinds}, data, path)

    def tagged(self, kinds: dict[str, type[msgspec.Struct]], data: dict[str, Any], path: Path) -> Any:
        """Decode the table of the kind that its tag names. A key of another kind is an error that says whose
        it is."""
        fields = {kind: _fields(table) for kind, table in kinds.items()}
        everywhere = {name: field for each in fields.values() for name, field in each.items()}
        tag_field = str(next(iter(kinds.values())).__struct_config__.tag_field)
        place = (*path, tag_field)
        for key in data.keys() - everywhere.keys() - {tag_field}:
            self.faults[*path, key] = f"unknown key `{key}`{suggest(key, [*everywhere, tag_field])}"
        if tag_field not in data:
            self.faults[place] = f"`{tag_field}` is missing"
        else:
            self.choice(tuple(kinds), data[tag_field], place)
        if place in self.faults:  # what belongs to any kind may be right
            self.common(list(kinds.values()), {key: data[key] for key in data if key in everywhere}, path)
            return _blank(next(iter(kinds.values())))
        chosen = data[tag_field]
        for key in data.keys() & everywhere.keys() - fields[chosen].keys():
            owners = " or ".join(kind for kind in kinds if key in fields[kind])
            noun = path[0]
            self.faults[*path, key] = f"`{key}` is for {noun}s of type {owners}, this one is {chosen}"
        own = {key: data[key] for key in data if key in fields[chosen]}
        return self.table(kinds[chosen], own, path, f"a {path[0]} of type {chosen} needs `{{}}`")

    def common(self, kinds: list[type[msgspec.Struct]], data: dict[str, Any], path: Path) -> None:
        """Find what is wrong with a table of which nobody knows the kind."""
        everywhere = {name: field for kind in kinds for name, field in _fields(kind).items()}
        for name, field in everywhere.items():
            if name in data:
                self.any(field.type, data[name], (*path, name))
            elif field.required and all(name in _fields(kind) for kind in kinds):
                self.faults[*path, name] = f"`{name}` is missing"

    def table(
        self, kind: type[msgspec.Struct], data: Any, path: Path, missing: str = "`{}` is missing"
    ) -> Any:
        if not isinstance(data, dict):
            return self.fault(kind, path, f"expected a table, got {_named(data)}")
        fields = _fields(kind)
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
                self.faults[*path, name] = missing.format(name)
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


def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(kind)}


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
    if isinstance(data, list):
        return "a list"
    return "a table" if isinstance(data, dict) else f"a {type(data).__name__}"


def _explain(kind: Any, message: str, data: Any) -> str:
    """msgspec's message in the words of the reference: Expected `int` >= 1 -> expected a whole number >= 1,
    got 0."""
    meta = getattr(kind, "__metadata__", ())
    described = meta[0].description if meta else None
    expected = described or message.split(", got ")[0].removeprefix("Expected ")
    in_words = re.sub(r"`(int|float|str|bool)`", lambda match: _WORDS[match[1]], expected)
    return f"expected {in_words}, got {_named(data)}"
