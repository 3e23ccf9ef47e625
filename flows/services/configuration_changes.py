"""What a configuration file changes: of the rules at once, of all else when `run` is started again.

At its start `run` leaves in the data folder what each option was, as hashes, so that `reload` can say which
ones are others now.
"""

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.config import Config, Rules
from schemas.config.toml import DEFAULT, read

STARTED: Final = "started.json"
# By whether it was there before, and is there now.
_HOW: Final = {(True, True): "changed", (False, True): "new", (True, False): "gone"}


def of_rules(before: Rules, after: Rules) -> list[str]:
    """Return each rule that is new, gone or another, such as `tag vip: changed`."""
    found = []
    for table in Rules.__struct_fields__:
        old, new = _named(getattr(before, table)), _named(getattr(after, table))
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                found.append(f"{table}{name and ' ' + name}: {_HOW[name in old, name in new]}")
    return found


def remember(config: Config, path: Path | None) -> None:
    """Note what `run` was started with."""
    folder = Path(config.data.folder)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{STARTED}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(_options(path)))
    draft.replace(folder / STARTED)


def waiting(config: Config, path: Path | None) -> list[str]:
    """Return the options that are not as `run` was started with, such as `gateway.listen`; none where it
    never was, on this machine."""
    try:
        started = msgspec.json.decode((Path(config.data.folder) / STARTED).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return []
    now = _options(path)
    return [name for name in sorted({*started, *now}) if started.get(name) != now.get(name)]


class _Unresolved(Mapping[str, str]):
    """An environment that leaves `${NAME}` as it stands: what the file says is compared, and no secret is
    needed for it."""

    def __getitem__(self, name: str) -> str:
        return f"${{{name}}}"

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


def _options(path: Path | None) -> dict[str, str]:
    """Hash of each option outside the rules."""
    path = path or DEFAULT
    config = read(path.read_text(encoding="utf-8"), _Unresolved()).config if path.is_file() else Config()
    found: dict[str, Any] = {}
    for table in Config.__struct_fields__:
        value = getattr(config, table)
        if table in Rules.__struct_fields__:
            continue
        if isinstance(value, msgspec.Struct):
            found |= {f"{table}.{name}": getattr(value, name) for name in value.__struct_fields__}
        else:
            found |= {f"{table}{name and ' ' + name}": entry for name, entry in _named(value).items()}
    return {
        name: blake2b(msgspec.json.encode(value, enc_hook=str), digest_size=12).hexdigest()
        for name, value in found.items()
    }


def _named(value: Any) -> dict[str, Any]:
    """The entries of a list of tables by their name; one table as the entry without one."""
    if isinstance(value, tuple):
        return {
            getattr(entry, "name", None) or f"{place}": entry for place, entry in enumerate(value, start=1)
        }
    return {"": value}
