"""Texts in an expression that a name is compared with: `'vip' in tags`, `stage == 'active'`, `segment in
('high', 'middle')`."""

import ast
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from flows.logic.expressions.expression import ExpressionError, mistake, parsed


class Literal(msgspec.Struct, frozen=True):
    """`name` is what it is compared with, such as `tags`; `column` counts from 1 within `text`, which is in
    one line."""

    name: str
    value: str
    column: int
    text: str

    def wrong(self, message: str) -> ExpressionError:
        """Return the message with a caret under the literal."""
        return ExpressionError(message, self.column, self.text)


def literals(text: str) -> Iterator[Literal]:
    """Yield each of them; nothing if the text is not an expression."""
    tree = parsed(text)
    if isinstance(tree, ExpressionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for left, right in pairwise([node.left, *node.comparators]):
                yield from _between(left, right, text)
                yield from _between(right, left, text)


def _between(named: ast.expr, compared: ast.expr, text: str) -> Iterator[Literal]:
    if not isinstance(named, ast.Name):
        return
    for element in compared.elts if isinstance(compared, (ast.List, ast.Tuple)) else [compared]:
        if isinstance(element, ast.Constant) and isinstance(element.value, str):
            place = mistake("", element, text)
            yield Literal(named.id, element.value, place.column, place.text)
