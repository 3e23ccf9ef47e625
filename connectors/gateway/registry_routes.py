"""The read-only paths of a Confluent schema registry, with the schemas that triggers are written in.

A stock Avro deserializer pointed at the gateway needs no registry of its own. Errors have that API's own form
and codes.
"""

from collections.abc import Callable, Mapping, Sequence

import fastavro
import msgspec
from fastavro.schema import SchemaParseException, UnknownType, to_parsing_canonical_form
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import read
from connectors.gateway.refusals import answer
from connectors.gateway.routes import Routes
from schemas.wire.trigger_avro import Registered

_MEDIA = "application/vnd.schemaregistry.v1+json"
_BODY_BYTES = 64 * 1024  # many times the largest schema of ours; reading one takes its time
_ID_DIGITS = 10

Subjects = Mapping[str, Sequence[Registered]]  # versions rising


class _LookUp(msgspec.Struct):
    schema: str


def registry_routes(subjects: Subjects) -> Routes:
    """Return the routes of a registry that holds these subjects."""
    pages = _Pages(subjects)
    return [
        ("GET", "/subjects", pages.names),
        ("GET", "/subjects/{subject}/versions", pages.versions),
        ("GET", "/subjects/{subject}/versions/{version}", pages.version),
        ("GET", "/schemas/ids/{id}", pages.by_schema_id),
        ("GET", "/schemas/ids/{id}/subjects", pages.subjects_of),
        ("GET", "/schemas/ids/{id}/versions", pages.versions_of),
        ("POST", "/subjects/{subject}", pages.look_up),
    ]


class _Pages:
    """What each route answers."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._by_id = {entry.id: entry for entries in subjects.values() for entry in entries}

    async def names(self, _: Request) -> Response:
        return _answer(sorted(self._subjects))

    async def versions(self, request: Request) -> Response:
        entries = self._subjects.get(request.path_params["subject"])
        return _no_subject() if entries is None else _answer([entry.version for entry in entries])

    async def version(self, request: Request) -> Response:
        subject, wanted = request.path_params["subject"], request.path_params["version"]
        entries = self._subjects.get(subject)
        if entries is None:
            return _no_subject()
        if wanted == "latest":
            return _answer(_described(subject, entries[-1]))
        if not (wanted.isascii() and wanted.isdecimal()):
            return _error(42202, "The version must be a number or `latest`")
        for entry in entries:
            if str(entry.version) == wanted:
                return _answer(_described(subject, entry))
        return _error(40402, "Version not found.")

    async def by_schema_id(self, request: Request) -> Response:
        wanted = request.path_params["id"]
        known = wanted.isascii() and wanted.isdecimal() and len(wanted) <= _ID_DIGITS
        entry = self._by_id.get(int(wanted)) if known else None
        return _error(40403, "Schema not found") if entry is None else _answer({"schema": _text(entry)})

    async def subjects_of(self, request: Request) -> Response:
        return self._placed(request, lambda subject, _: subject)

    async def versions_of(self, request: Request) -> Response:
        return self._placed(request, lambda subject, entry: {"subject": subject, "version": entry.version})

    def _placed(self, request: Request, describe: Callable[[str, Registered], object]) -> Response:
        wanted = request.path_params["id"]
        found = [
            describe(name, entry)
            for name in sorted(self._subjects)
            for entry in self._subjects[name]
            if str(entry.id) == wanted
        ]
        return _answer(found) if found else _error(40403, "Schema not found")

    async def look_up(self, request: Request) -> Response:
        subject = request.path_params["subject"]
        entries = self._subjects.get(subject)
        if entries is None:
            return _no_subject()
        try:
            body = msgspec.json.decode(await read(request, _BODY_BYTES), type=_LookUp)
            wanted = _canonical(msgspec.json.decode(body.schema))
        except (ValueError, TypeError, KeyError, RecursionError, SchemaParseException, UnknownType):
            return _error(42201, 'The body must be {"schema": "..."} with a valid Avro schema')
        for entry in entries:
            if _canonical(entry.schema) == wanted:
                return _answer(_described(subject, entry))
        return _error(40403, "Schema not found")


def _described(subject: str, entry: Registered) -> dict[str, object]:
    return {
        "subject": subject,
        "id": entry.id,
        "version": entry.version,
        "schemaType": "AVRO",
        "schema": _text(entry),
    }


def _text(entry: Registered) -> str:
    return msgspec.json.encode(entry.schema).decode()


def _canonical(schema: object) -> str:
    # the caller catches what is no schema
    return to_parsing_canonical_form(fastavro.parse_schema(schema))  # type: ignore[arg-type]


def _answer(body: object) -> Response:
    return answer(body, media_type=_MEDIA)


def _no_subject() -> Response:
    return _error(40401, "Subject not found.")


def _error(code: int, message: str) -> Response:
    return answer({"error_code": code, "message": message}, code // 100, media_type=_MEDIA)
