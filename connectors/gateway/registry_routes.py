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

Subjects = Mapping[str, Sequence[Registered]]  # versions rising


class _LookUp(msgspec.Struct):
    schema: str


def registry_routes(subjects: Subjects) -> Routes:
    by_id = {entry.id: entry for entries in subjects.values() for entry in entries}

    async def names(_: Request) -> Response:
        return _answer(sorted(subjects))

    async def versions(request: Request) -> Response:
        entries = subjects.get(request.path_params["subject"])
        return _no_subject() if entries is None else _answer([entry.version for entry in entries])

    async def version(request: Request) -> Response:
        subject, wanted = request.path_params["subject"], request.path_params["version"]
        entries = subjects.get(subject)
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

    async def by_schema_id(request: Request) -> Response:
        wanted = request.path_params["id"]
        entry = (
            by_id.get(int(wanted)) if wanted.isascii() and wanted.isdecimal() and len(wanted) <= 10 else None
        )
        return _error(40403, "Schema not found") if entry is None else _answer({"schema": _text(entry)})

    async def placed(request: Request, describe: Callable[[str, Registered], object]) -> Response:
        wanted = request.path_params["id"]
        found = [
            describe(name, entry)
            for name in sorted(subjects)
            for entry in subjects[name]
            if str(entry.id) == wanted
        ]
        return _answer(found) if found else _error(40403, "Schema not found")

    async def subjects_of(request: Request) -> Response:
        return await placed(request, lambda subject, _: subject)

    async def versions_of(request: Request) -> Response:
        return await placed(request, lambda subject, entry: {"subject": subject, "version": entry.version})

    async def look_up(request: Request) -> Response:
        subject = request.path_params["subject"]
        entries = subjects.get(subject)
        if entries is None:
            return _no_subject()
        try:
            wanted = _canonical(
                msgspec.json.decode(
                    msgspec.json.decode(await read(request, _BODY_BYTES), type=_LookUp).schema
                )
            )
        except (ValueError, TypeError, KeyError, RecursionError, SchemaParseException, UnknownType):
            return _error(42201, 'The body must be {"schema": "..."} with a valid Avro schema')
        for entry in entries:
            if _canonical(entry.schema) == wanted:
                return _answer(_described(subject, entry))
        return _error(40403, "Schema not found")

    return [
        ("GET", "/subjects", names),
        ("GET", "/subjects/{subject}/versions", versions),
        ("GET", "/subjects/{subject}/versions/{version}", version),
        ("GET", "/schemas/ids/{id}", by_schema_id),
        ("GET", "/schemas/ids/{id}/subjects", subjects_of),
        ("GET", "/schemas/ids/{id}/versions", versions_of),
        ("POST", "/subjects/{subject}", look_up),
    ]


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
