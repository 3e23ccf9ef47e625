"""Where things stand in a TOML text: the line of each table, key, array element and inline key.

`tomllib` gives values without places, so this walks the text once more. The text must be valid TOML
(`tomllib` has taken it); of values it only needs to know where they end.
"""

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING = re.compile(r'"{3}(?:[^\\]|\\.)*?"{3,5}|\'{3}.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def lines(text: str) -> Mapping[Path, int]:
    """Return the line (from 1) of each path, such as `("trigger", 2, "when")`; a table's line is that of
    its header."""
    return _Walk(text).places


def line_of(places: Mapping[Path, int], path: Path) -> int:
    """Return the line of `path`, or of what it would stand in if it is not there; 1 for the whole file."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path, 1)


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[Path, int] = {}
        self._line, self._counted = 1, 0
        self._tables: dict[Path, int] = {}  # index of the newest element of each array of tables
        table: Path = ()
        self._skip()
        while self.at < len(text):
            table = self._header() if text[self.at] == "[" else self._pair(table)
            self._skip()

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path that the keys after it belong to."""
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        *outer, last = self._keys()
        path: Path = ()
        for key in outer:
            path = self._newest((*path, key))
        path = (*path, last)
        if is_array:
            self._tables[path] = self._tables.get(path, -1) + 1
        self._note(path)
        path = self._newest(path)
        self._note(path)
        self.at += 2 if is_array else 1
        return path

    def _newest(self, path: Path) -> Path:
        return (*path, self._tables[path]) if path in self._tables else path

    def _pair(self, table: Path) -> Path:
        path = table
        line = self._now()
        for key in self._keys():
            path = (*path, key)
            self.places.setdefault(path, line)
        self.at += 1  # the equals sign
        self._skip()
        self._value(path)
        return table

    def _keys(self) -> list[str]:
        keys = []
        while True:
            match = self._match(_KEY)
            key = match[1]
            keys.append(tomllib.loads(f"key = {key}")["key"] if key[0] in "\"'" else key)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _value(self, path: Path) -> None:
        first = self.text[self.at]
        if first == "[":
            self._items("]", path)
        elif first == "{":
            self._items("}", path)
        else:
            self._match(_STRING if first in "\"'" else _SCALAR)

    def _items(self, end: str, path: Path) -> None:
        """The elements of an array, or the pairs of an inline table."""
        self.at += 1
        self._skip()
        index = 0
        while self.text[self.at] != end:
            if end == "}":
                self._pair(path)
            else:
                self._note((*path, index))
                self._value((*path, index))
            index += 1
            self._skip()
            if self.text[self.at] == ",":
                self.at += 1
                self._skip()
        self.at += 1

    def _note(self, path: Path) -> None:
        self.places.setdefault(path, self._now())

    def _now(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def _skip(self) -> None:
        self._match(_BLANK)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.at)
        assert match is not None, f"not TOML at {self.at}"
        self.at = match.end()
        return match
