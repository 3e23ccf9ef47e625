"""The tracking plan: for each planned event a check of its properties, from a JSON Schema or an Avro record."""

from pathlib import Path
from typing import Any

import fastavro
import fastavro.validation
import msgspec
from fastavro.schema import SchemaParseException, UnknownType
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from flows.logic.validate import PlanCheck
from schemas.config import PlanEvent
from schemas.errors import ConfigError


def load(entry: PlanEvent) -> PlanCheck:
    """Raises `ConfigError` for a file that cannot be read, or is no schema."""
    path = Path(entry.schema)
    try:
        schema = msgspec.json.decode(path.read_bytes())
        return _avro(schema) if path.suffix == ".avsc" else _json_schema(schema)
    except (OSError, msgspec.DecodeError, SchemaError, SchemaParseException, UnknownType, TypeError, KeyError) as error:
        words = getattr(error, "message", None) or str(error)
        raise ConfigError(f"plan of {entry.event!r}: {path.name} is no schema that can be used: {words.splitlines()[0]}") from None


def _json_schema(schema: Any) -> PlanCheck:
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    def check(properties: dict[str, Any]) -> str | None:
        error = next(validator.iter_errors(properties), None)
        if error is None:
            return None
        where = ".".join(str(step) for step in error.absolute_path) or "properties"
        if error.validator == "required":  # names of missing properties are no data
            return f"{where}: {error.message}"
        return f"{where}: breaks {error.validator!r} of its schema"

    return check


def _avro(schema: Any) -> PlanCheck:
    parsed = fastavro.parse_schema(schema)
    names = {field["name"] for field in parsed["fields"]}  # type: ignore[call-overload, index]  # a record: checked on the next line

    def check(properties: dict[str, Any]) -> str | None:
        if fastavro.validation.validate(properties, parsed, raise_errors=False, strict=False):
            return None
        missing = ", ".join(sorted(names - properties.keys()))
        return f"does not fit its Avro schema (missing: {missing})" if missing else "does not fit its Avro schema"

    return check
