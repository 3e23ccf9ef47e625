"""The tracking plan: for each planned event a check of its properties, from a JSON Schema or an Avro
record."""

import codecs
from pathlib import Path
from typing import Any, NoReturn

import fastavro
import fastavro.validation
import msgspec
from fastavro.schema import SchemaParseException, UnknownType
from jsonschema_rs import Draft202012Validator, ValidationError

from flows.logic.resolution.validation import PlanCheck
from schemas import patterns
from schemas.config import PlanEvent
from schemas.errors import ConfigError


def load(entry: PlanEvent) -> PlanCheck:
    """Return the check that a file describes. Raises `ConfigError` for one that cannot be read, or that is no
    schema."""
    path = Path(entry.schema)
    try:
        schema = msgspec.json.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8))
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
        if error.kind.name == "required":  # names of missing properties are no data
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
