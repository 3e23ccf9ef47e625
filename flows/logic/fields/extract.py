"""What of an event's traits is compared."""

from collections.abc import Mapping
from typing import Any, Final

from flows.logic.fields.placeholders import Placeholders
from flows.logic.fields.values import is_rounded
from schemas.config import Matching

LEAST: Final = 2  # fields; one alone says too little
VALUE_MAX: Final = 256


class Fields:
    """The configured places, resolved once."""

    def __init__(self, config: Matching, placeholders: Placeholders) -> None:
        self._says_nothing = placeholders.says_nothing
        self._places = [
            (field.name, [path.removeprefix("traits.").split(".") for path in field.paths])
            for field in config.field
            if config.enabled
        ]

    def of(self, traits: Mapping[str, Any]) -> dict[str, str]:
        """Return texts by field; nothing where there are fewer than two."""
        found: dict[str, str] = {}
        for name, paths in self._places:
            for path in paths:
                value: Any = traits
                for step in path:
                    value = value.get(step) if isinstance(value, Mapping) else None
                if isinstance(value, (str, int)) and not isinstance(value, bool):
                    text = str(value)[:VALUE_MAX]
                    if not (
                        self._says_nothing(text) or is_rounded(text)
                    ):  # the same for many who have nothing in common
                        found[name] = text
                        break
        return found if len(found) >= LEAST else {}
