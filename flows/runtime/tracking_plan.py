"""The tracking plan: for each planned event a check of its properties, from a JSON Schema or an Avro
record."""

import codecs
from pathlib import Path
from typing import Any, Final, NoReturn

import fastavro
import fastavro.validation
import msgspec
from fastavro.schema import SchemaParseException, UnknownType
from jsonschema_rs import Draft202012Validator, ValidationError

from flows.logic.resolution.listing import Listing, Shape
from flows.logic.resolution.validation import PlanCheck
from schemas import patterns
from schemas.config import Category, Config, PlanEvent
from schemas.errors import ConfigError

_LEVELS: Final = 4  # of nesting, down to which alternatives of one property are put together


def load(entry: PlanEvent) -> PlanCheck:
    """Return the check that a file describes. Raises `ConfigError` for one that cannot be read, or that is no
    schema."""
    path = Path(entry.schema)
    try:
        schema = _decoded(path)
        return _avro(schema) if path.suffix == ".avsc" else _json_schema(schema)
    except (
        OSError,
        msgspec.DecodeError,
        ValueError,
        SchemaParseException,
        UnknownType,
        TypeError,
        KeyError,
    ) as error:
        raise ConfigError(
            f"plan of {entry.event!r}: {path.name} is no schema that can be used: "
            f"{str(error).splitlines()[0]}"
        ) from None


def _decoded(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8))


class Names(msgspec.Struct, frozen=True):
    """What a plan's entry names."""

    shape: Shape
    categories: dict[str, str]  # of properties, by their names


def names(entry: PlanEvent) -> Names:
    """Return which properties an entry names, and the category of each that has one. Raises `ConfigError` as
    `load` does."""
    load(entry)
    schema = _decoded(Path(entry.schema))
    categories: dict[str, str] = {}
    if entry.schema.endswith(".avsc"):
        return Names(_named_by_avro(fastavro.parse_schema(schema), categories), categories)
    shape = _named_by_json(schema, schema, categories, {})
    if shape is None and not _allows_more(schema):
        shape = {}  # a plan that names nothing lists nothing
    return Names(shape, categories)


def _allows_more(schema: Any) -> bool:
    """Return whether a schema says itself that any name is right."""
    return type(schema) is dict and bool(
        schema.get("patternProperties") or schema.get("additionalProperties") not in (None, False)
    )


def listing(config: Config) -> Listing | None:
    """Return what takes out of events all that is not listed; None where everything is collected. Raises
    `ConfigError`."""
    if config.validate.collect == "all":
        return None
    return Listing(
        {entry.event: names(entry).shape for entry in config.validate.plan},
        config.validate.traits,
        [path for namespace in config.identity.namespace for path in namespace.paths],
        config.validate.depth,
    )


def categories(config: Config) -> list[Category]:
    """Return what the plan says of categories. Raises `ConfigError`."""
    told: list[dict[str, Any]] = []
    for entry in config.validate.plan:
        if entry.category:
            told.append({"name": entry.category, "events": [entry.event]})
        found = names(entry).categories.items()
        told += [{"name": category, "fields": [name]} for name, category in found]
    try:
        return msgspec.convert(told, list[Category])
    except msgspec.ValidationError as error:
        raise ConfigError(f"validate.plan: a category needs a name of one word: {error}") from None


def _named_by_json(schema: Any, root: Any, categories: dict[str, str], seen: dict[str, Shape]) -> Shape:
    """Return the names of a JSON Schema; None where it takes any. `seen`: of references; one may lead back to
    itself, and then its names do too."""
    if type(schema) is not dict:
        return None
    if type(reference := schema.get("$ref")) is str:
        if reference not in seen:
            itself: dict[str, Shape] = {}
            seen[reference] = itself
            found = _named_by_json(_at(root, reference), root, categories, seen)
            itself.update(found or {})
            seen[reference] = None if found is None else itself
        return seen[reference]
    if schema.get("patternProperties") or schema.get("additionalProperties") not in (None, False):
        return None
    shapes: list[Shape] = []
    if schema.get("additionalProperties") is False and "properties" not in schema:
        shapes.append({})
    if "properties" in schema:
        named: dict[str, Shape] = {}
        for name, inner in schema["properties"].items():
            if type(inner) is dict and type(category := inner.get("x-category")) is str:
                categories[name] = category
            named[name] = _named_by_json(inner, root, categories, seen)
        shapes.append(named)
    if "items" in schema:
        shapes.append(_named_by_json(schema["items"], root, categories, seen))
    for several in ("allOf", "anyOf", "oneOf"):
        shapes += [_named_by_json(one, root, categories, seen) for one in schema.get(several, ())]
    return _joined(shapes)


def _joined(shapes: list[Shape], levels: int = _LEVELS) -> Shape:
    """Return the names of them all. One that names nothing adds nothing to those that do. Below `levels` the
    first counts: names may lead back to themselves."""
    named = [shape for shape in shapes if shape is not None]
    if not named:
        return None
    if len(named) == 1 or levels == 0:
        return named[0]
    joined: dict[str, Shape] = {}
    for shape in named:
        for name, inner in shape.items():
            same = name not in joined or joined[name] is inner
            joined[name] = inner if same else _joined([joined[name], inner], levels - 1)
    return joined


def _at(root: Any, reference: str) -> Any:
    """Return what a reference within the file stands for; None for what is not there."""
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if type(found) is dict else None
    return found


def _named_by_avro(schema: Any, categories: dict[str, str]) -> Shape:
    if type(schema) is list:
        return _joined([_named_by_avro(one, categories) for one in schema])
    if type(schema) is not dict:
        return None
    if schema.get("type") == "array":
        return _named_by_avro(schema["items"], categories)
    if schema.get("type") != "record":
        inner = schema.get("type")
        return _named_by_avro(inner, categories) if isinstance(inner, dict | list) else None
    named: dict[str, Shape] = {}
    for field in schema["fields"]:
        if type(category := field.get("x-category")) is str:
            categories[field["name"]] = category
        named[field["name"]] = _named_by_avro(field["type"], categories)
    return named


def _json_schema(schema: Any) -> PlanCheck:
    """Return the check of a JSON Schema. Raises `ValueError`."""
    try:
        validator = Draft202012Validator(schema, pattern_options=patterns.OPTIONS, retriever=_retrieve)
    except ValidationError as error:
        raise ValueError(_fault(error)) from None

    def check(properties: dict[str, Any]) -> str | None:
        error = next(iter(validator.iter_errors(properties)), None)
        if error is None:
            return None
        where = ".".join(str(step) for step in error.instance_path) or "properties"
        if error.kind.name == "required":  # names of missing properties are not data
            return f"{where}: {error.kind.as_dict()['property']!r} is a required property"
        return f"{where}: breaks {error.kind.name!r} of its schema"

    return check


def _fault(error: ValidationError) -> str:
    """Return what is wrong with a schema, with the place in it."""
    *above, last = [str(step) for step in error.instance_path] or [""]
    where = ".".join([*above, last])
    if error.kind.name == "format":  # of all that a schema holds only patterns have one that is checked
        pattern = (
            error.instance if isinstance(error.instance, str) else last
        )  # of `pattern` the value, of `patternProperties` the key
        return f"{where}: {patterns.fault(pattern)}"
    return f"{where}: {error.message}" if where else error.message


def _retrieve(uri: str) -> NoReturn:
    raise ValueError(f"what {uri} refers to must stand in the file itself, under $defs: nothing is fetched")


def _avro(schema: Any) -> PlanCheck:
    parsed = fastavro.parse_schema(schema)
    # a record: checked on the next line
    names = {field["name"] for field in parsed["fields"]}  # type: ignore[call-overload, index]

    def check(properties: dict[str, Any]) -> str | None:
        try:
            fits = fastavro.validation.validate(properties, parsed, raise_errors=False, strict=False)
        except (
            ValueError,
            TypeError,
            ArithmeticError,
        ):  # a logical type that its own text cannot be made to, such as a date of "soon"
            fits = False
        if fits:
            return None
        missing = ", ".join(sorted(names - properties.keys()))
        return (
            f"does not fit its Avro schema (missing: {missing})"
            if missing
            else "does not fit its Avro schema"
        )

    return check
