"""Regular expressions that somebody wrote: into the configuration, or into a schema of the tracking plan.

They are those of JSON Schema (ECMA-262) and run on text that a stranger sends. So the engine is one whose
time grows with the length of the text and with nothing else: Python's own takes longer than the universe for
`^(a+)+$` on forty letters.
"""

import re
from collections.abc import Callable

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

# bytes of a compiled pattern: with the length of a text (an event has 32 KB) it bounds a match, at about 0.5
# s
COMPILED_MAX = 128 << 10
OPTIONS = RegexOptions(size_limit=COMPILED_MAX, dfa_size_limit=1 << 20)

_UNKNOWN = (  # what no engine can do in linear time
    (re.compile(r"(?<!\\)\(\?<?[=!]"), "lookahead and lookbehind"),
    (re.compile(r"(?<!\\)(?:\\\\)*\\(?:[1-9]|k<)|\(\?P="), "references to a group"),
)


def whole(pattern: str) -> Callable[[str], bool]:
    """Return whether a text fits wholly, in any case. Raises `ValueError`."""
    _compiled(pattern)  # alone: brackets that close ours are its own mistake
    return _compiled(f"^(?i:{pattern})$")


def _compiled(pattern: str) -> Callable[[str], bool]:
    try:
        return Draft202012Validator({"pattern": pattern}, pattern_options=OPTIONS).is_valid
    except ValidationError:
        raise ValueError(fault(pattern)) from None


def fault(pattern: str) -> str:
    """Return what is wrong with a pattern that does not compile, and what to do."""
    for means, what in _UNKNOWN:
        if means.search(pattern):
            return f"{what} cannot be checked in bounded time and are not known here: {pattern!r}"
    try:
        re.compile(pattern)
    except re.error as error:
        return f"no regular expression: {error}: {pattern!r}"
    return (
        "no regular expression of JSON Schema (ECMA-262), or too large when compiled"
        f" (for lengths there is maxLength): {pattern!r}"
    )
