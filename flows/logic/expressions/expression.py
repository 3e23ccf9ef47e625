"""Expressions of the rules (`orders_90d > 3 and "vip" in tags`): a safe subset of Python's, compiled once.

The text is parsed by `ast`, checked and typed node by node, and written anew as source of our own: a node
that is not listed here cannot get through. Each expression becomes two functions. The quick one trusts the
types in the scope, so that a comparison of known numbers is just that. Where a value breaks its promise
Python raises, and the careful one, which trusts nothing (`flows.logic.expressions.operations`), gives the
answer; it never raises.

Missing values (None): any comparison but `==` and `!=` is False, any calculation is None.
"""

import ast
import unicodedata
from collections.abc import Callable
from typing import Any, Final

import msgspec

from flows.logic.expressions.operations import OPERATIONS
from flows.logic.expressions.source import FUNCTIONS, Expected, Name, Refused, Scope, Type, Writer

__all__ = [
    "FUNCTIONS",
    "LENGTH_MAX",
    "Compiled",
    "ExpressionError",
    "Name",
    "Scope",
    "Type",
    "compared_with_numbers",
    "compile_expression",
    "mistake",
    "names_used",
    "parsed",
]

Compiled = Callable[[Any], Any]

LENGTH_MAX: Final = 2_000
_BROKEN_PROMISES: Final = (TypeError, ValueError, ArithmeticError, AttributeError)


class ExpressionError(msgspec.Struct, frozen=True):
    """Why a text is no expression. `column` counts from 1 within `text`, which is in one line."""

    message: str
    column: int
    text: str

    def __str__(self) -> str:
        """The message, the text, and a caret under the place."""
        indent = "".join(
            "  " if unicodedata.east_asian_width(letter) in "WF" else " "
            for letter in self.text[: self.column - 1]
        )
        return f"{self.message}\n    {self.text}\n    {indent}^"


def compile_expression(text: str, scope: Scope, *, expect: Expected = "bool") -> Compiled | ExpressionError:
    """Return a function of one view that never raises on any value, or what is wrong with the text.

    It gives True or False where a bool is expected, a number or None where a number is.
    """
    tree = parsed(text)
    if isinstance(tree, ExpressionError):
        return tree
    try:
        quick = Writer(scope, trusting=True).whole(tree, expect)
        careful = Writer(scope, trusting=False).whole(tree, expect)
    except Refused as refused:
        return mistake(refused.message, refused.node, text)
    environment: dict[str, Any] = {"__builtins__": {}, "_BROKEN_PROMISES": _BROKEN_PROMISES, **OPERATIONS}
    source = f"""
def careful(v):
    return {careful}
def expression(v):
    try:
        return {quick}
    except _BROKEN_PROMISES:
        return careful(v)
"""
    exec(
        compile(source, f"<expression {_one_line(text)[:80]}>", "exec"), environment
    )  # all of it was written by Writer
    compiled: Compiled = environment["expression"]
    return compiled


def names_used(text: str, scope: Scope) -> set[str]:
    """Return the dotted names that an expression looks at; nothing if the text is not an expression. Each
    name is an expression itself."""
    tree = parsed(text)
    if isinstance(tree, ExpressionError):
        return set()
    writer = Writer(scope, trusting=True)
    try:
        writer.whole(tree, "any")
    except Refused:
        return set()
    return writer.used


def compared_with_numbers(text: str) -> list[tuple[str, ...]]:
    """Return the ways to the properties that an expression holds against a number by `<`, `<=`, `>` or `>=`;
    nothing if the text is not an expression."""
    tree = parsed(text)
    found: dict[tuple[str, ...], None] = {}
    for node in () if isinstance(tree, ExpressionError) else ast.walk(tree):
        if isinstance(node, ast.Compare) and all(
            isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops
        ):
            sides = (node.left, *node.comparators)
            if any(isinstance(side, ast.Constant) and type(side.value) in (int, float) for side in sides):
                found |= dict.fromkeys(way for side in sides if (way := _way_to(side)))
    return list(found)


def _way_to(node: ast.expr) -> tuple[str, ...]:
    """Of `properties.a.b` or `properties["a"]`."""
    if isinstance(node, ast.Attribute):
        inside, step = node.value, node.attr
    elif (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    ):
        inside, step = node.value, node.slice.value
    else:
        return ()
    if isinstance(inside, ast.Name):
        return (step,) if inside.id == "properties" else ()
    way = _way_to(inside)
    return (*way, step) if way else ()


def _one_line(text: str) -> str:
    return "".join(" " if letter in "\n\r\t\f" else letter for letter in text)


def parsed(text: str) -> ast.expr | ExpressionError:
    """Return the tree of the text, which may hold what is not part of expressions, or why it has none."""
    line = _one_line(text)
    source = line.strip(" ")
    indent = len(line) - len(line.lstrip(" "))
    if not source:
        return ExpressionError("the expression is empty", 1, line)
    if len(source) > LENGTH_MAX:
        return ExpressionError(f"longer than {LENGTH_MAX} characters", LENGTH_MAX, line[:LENGTH_MAX])
    try:
        tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        at = min(max(error.offset or 1, 1), len(source) + 1)
        hint = "; to compare write ==" if source[at - 1 : at] == "=" else ""
        return ExpressionError(error.msg + hint, indent + at, line)
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ):  # letters that are not text; nesting beyond Python's own limits
        return ExpressionError("this cannot be read as an expression", indent + 1, line)
    end = len(source.encode()[: tree.end_col_offset].decode())
    if "#" in source[end:]:  # in one line it would swallow what follows
        return ExpressionError(
            "a comment cannot stand in an expression", indent + source.index("#", end) + 1, line
        )
    if not source.isascii():
        _spell_as_written(tree, source.encode())
    return tree


def _spell_as_written(tree: ast.expr, source: bytes) -> None:
    """Python's parser turns names into their NFKC form; a property is called what it is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            node.attr = (
                source[node.value.end_col_offset : node.end_col_offset].decode().rpartition(".")[2].strip()
            )


def mistake(message: str, node: ast.expr, text: str) -> ExpressionError:
    """Return the message at the place of a node of `parsed(text)`."""
    line = _one_line(text)
    indent = len(line) - len(line.lstrip(" "))
    before = line.strip(" ").encode()[: node.col_offset].decode()  # ast counts bytes
    return ExpressionError(message, indent + len(before) + 1, line)
