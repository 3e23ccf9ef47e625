"""The configuration file: text -> `Config`, or every error in it at once, each with its line.

This is the only place that reads the environment (for `${NAME}`). The rules travel on as canonical JSON in
the shards' logs, and are read back by the same strict decoder.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from schemas.config import AnyConnector, Config, FileConnector, OpenDsr, OpenDsrConnector, Rules, Vault
from schemas.config.consistent import inconsistencies
from schemas.config.decode import NOT_THERE, decode
from schemas.config.locate import Path as Place
from schemas.config.locate import line_of, lines
from schemas.errors import ConfigError

DEFAULT = Path(__file__).parent.parent.parent / "deploy" / "millrace.toml"

_SYNTAX = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)

# A file that an editor or a copy has just begun to write is empty too, and would replace all rules by the
# defaults.
EMPTY = 'the file is empty: expected at least one option; for the defaults alone write name = "millrace"'


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong. `path` is such as `trigger[2].on.event`, empty for the file as a whole."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path + ': ' if self.path else ''}{self.message}"


class Reading(msgspec.Struct, frozen=True):
    """A text as far as it could be understood; where there are problems `config` holds defaults in their
    places."""

    config: Config
    problems: list[Problem]
    places: Mapping[Place, int]


def load(path: Path | None, environment: Mapping[str, str] | None = None, *, secrets: bool = True) -> Config:
    """Return the configuration in `path`, its relative paths resolved against the file's folder.

    Without a path: the packaged default, or if that was not packaged the built-in one, relative to the
    current folder. Without `secrets` those of receivers and senders may be missing from the environment: for
    who only looks. Raises `ConfigError` with every error, one a line.
    """
    if path is None:
        if not DEFAULT.is_file():
            return resolved(Config(), Path.cwd())
        path, folder = DEFAULT, Path.cwd()
    else:
        folder = path.absolute().parent
    reading = read(text_of(path), environment)
    if found := [problem for problem in reading.problems if secrets or not lacks_secret(problem)]:
        places = (
            f"{path}:{problem.line}: {problem.path + ': ' if problem.path else ''}{problem.message}"
            for problem in found
        )
        raise ConfigError("\n".join(places))
    return resolved(reading.config, folder)


def text_of(path: Path) -> str:
    """Return the file's text, without the mark that editors of Windows put in front of it. Raises
    `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise ConfigError(
            f"{path}:{line}: not UTF-8: expected text in UTF-8, got the byte 0x{byte:02x}"
        ) from error


def lacks_secret(problem: Problem) -> bool:
    """Return whether all that is wrong is that the environment lacks what a receiver or a sender is known
    by."""
    return problem.message.startswith(NOT_THERE) and problem.path.startswith(("connector[", "gateway."))


def problems(text: str, environment: Mapping[str, str] | None = None) -> list[Problem]:
    """Return everything that is wrong with a configuration file's text, by line; [] if nothing is."""
    return read(text, environment).problems


def read(text: str, environment: Mapping[str, str] | None = None) -> Reading:
    """Understand as much as can be. `environment` is that of the process unless another is given."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Reading(Config(), [_syntax(str(error), text)], {})
    except RecursionError:
        return Reading(Config(), [Problem(1, "", "nested too deeply")], {})
    if not document:
        return Reading(Config(), [Problem(1, "", EMPTY)], {})
    places = lines(text)
    decoded = decode(Config, document, os.environ if environment is None else environment)
    config: Config = decoded.value
    found = [*decoded.faults.items(), *inconsistencies(config, decoded.faults.keys())]
    listed = [Problem(line_of(places, place), spelled(place), message) for place, message in found]
    return Reading(config, sorted(listed), places)


def rules_document(rules: Rules) -> bytes:
    """Return canonical JSON of the rules in a `Config` (or of `Rules`): equal rules give equal bytes.

    Defaults are written out, so that a release with other defaults replays what was in force.
    """
    data = {
        name: _without_none(msgspec.to_builtins(getattr(rules, name), enc_hook=str))
        for name in Rules.__struct_fields__
    }
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rules_from(document: bytes) -> Rules:
    """Return what `rules_document` wrote. Raises `ConfigError`."""
    try:
        data = json.loads(document)
    except ValueError as error:
        raise ConfigError(f"the announced rules are not JSON: {error}") from error
    decoded = decode(Rules, data)
    if decoded.faults:
        raise ConfigError(
            "\n".join(
                f"the announced rules: {spelled(place)}: {message}"
                for place, message in decoded.faults.items()
            )
        )
    rules: Rules = decoded.value
    return rules


WithFiles = TypeVar("WithFiles", OpenDsr, Vault)


def resolved(config: Config, folder: Path) -> Config:
    """Return it with absolute paths: the data folder and plans by `folder`; keys, archive, backups and
    file connectors by the data folder."""
    data = folder / config.data.folder
    replace = msgspec.structs.replace

    def connector(entry: AnyConnector) -> AnyConnector:
        if isinstance(entry, FileConnector):
            return replace(entry, path=str(data / entry.path))
        if isinstance(entry, OpenDsrConnector):
            return replace(entry, certificate=str(data / entry.certificate))
        return entry

    return replace(
        config,
        data=replace(config.data, folder=str(data)),
        keys=replace(
            config.keys,
            path=str(data / config.keys.path),
            vault=_files(config.keys.vault, data, "token_file", "ca"),
        ),
        archive=replace(config.archive, folder=str(data / config.archive.folder)),
        backup=replace(
            config.backup, folder=str(data / config.backup.folder), keys=str(data / config.backup.keys)
        ),
        opendsr=_files(config.opendsr, data, "key", "certificate"),
        validate=replace(
            config.validate,
            plan=tuple(replace(entry, schema=str(folder / entry.schema)) for entry in config.validate.plan),
        ),
        connector=tuple(connector(entry) for entry in config.connector),
    )


def _files(table: WithFiles, data: Path, *names: str) -> WithFiles:
    """Return a table whose files are by the data folder; those that are not given stay so."""
    files = {name: str(data / path) for name in names if (path := getattr(table, name))}
    return msgspec.structs.replace(table, **files)


def spelled(place: Place) -> str:
    """Return `("tag", 2, "when")` as `tag[2].when`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def unspelled(path: str) -> Place:
    """Return the inverse of `spelled`."""
    return tuple(int(index) if index else key for index, key in re.findall(r"\[(\d+)\]|([^.\[\]]+)", path))


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    return [_without_none(value) for value in data] if isinstance(data, (list, tuple)) else data


def _syntax(message: str, text: str) -> Problem:
    match = _SYNTAX.fullmatch(message)
    if match is None:
        return Problem(1, "", message)
    line = int(match[2]) if match[2] else text.count("\n") + 1
    column = f" at column {match[3]}" if match[3] else " at the end of the file"
    return Problem(line, "", f"not TOML: {match[1][:1].lower()}{match[1][1:]}{column}")
