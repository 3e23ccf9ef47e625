"""The checking and writing of expressions: from a parsed tree to source of our own, node by node.

Nothing gets through that is not listed here. Each node gives a piece of source and its type; what is wrong is
`Refused` with the node. The source calls only `flows.logic.expressions.operations` and reads only what the
scope's names say.
"""

import ast
import keyword
import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from schemas.config.decode import suggest

Type = Literal["number", "text", "bool", "set", "any"]
Expected = Literal["bool", "number", "any"]

DEPTH_MAX: Final = (
    48  # the source that is written nests at most three times as deep; Python's parser takes 200
)
FUNCTIONS: Final = {  # least and most arguments
    "min": (2, 16),
    "max": (2, 16),
    "abs": (1, 1),
    "len": (1, 1),
    "round": (1, 2),
    "lower": (1, 1),
    "upper": (1, 1),
    "startswith": (2, 2),
    "contains": (2, 2),
    "coalesce": (2, 16),
    "has": (1, 1),
}

_CALCULATIONS: Final[dict[type[ast.operator], tuple[str, str]]] = {
    ast.Add: ("+", "_add"),
    ast.Sub: ("-", "_subtract"),
    ast.Mult: ("*", "_multiply"),
    ast.Div: ("/", "_divide"),
    ast.Mod: ("%", "_modulo"),
}
_ORDERS: Final[dict[type[ast.cmpop], tuple[str, str, bool]]] = {  # sign, operation, with its sides exchanged
    ast.Lt: ("<", "_less", False),
    ast.LtE: ("<=", "_less_or_equal", False),
    ast.Gt: (">", "_less", True),
    ast.GtE: (">=", "_less_or_equal", True),
}
_INTEGER_MAX: Final = 2**63
_DIGITS_MAX: Final = 15
_NAMED: Final = {
    "number": "a number",
    "text": "text",
    "bool": "true or false",
    "set": "a set",
    "none": "None",
    "list": "a list",
}


class Name(msgspec.Struct, frozen=True):
    """What an expression may name. `code` is Python source that reads it from the view `v`, such as
    `v.orders`."""

    type: Type
    code: str
    nullable: bool = False
    doc: str = ""


class Scope(msgspec.Struct, frozen=True):
    """`names` are fully spelled (`score.churn`). `open` has prefixes below which any name goes, with the code
    that reads it: `{"properties": "v.properties.get({key!r})"}`; what is deeper has dots in its key.
    """

    names: dict[str, Name]
    open: dict[str, str] = {}


class Refused(Exception):
    """What is wrong with an expression, and at which node."""

    def __init__(self, message: str, node: ast.expr) -> None:
        super().__init__(message)
        self.message = message
        self.node = node


class _Piece(msgspec.Struct, frozen=True):
    """Source of one value. Type `none` is the literal None, `list` a list of literals; `any` may always be
    None."""

    source: str
    type: Type | Literal["none", "list"]
    nullable: bool = False
    holds: frozenset[str] = frozenset()  # types in a list


class Writer:
    """Checks a tree and writes it as source: `trusting` the types of names, or taking them for anything."""

    def __init__(self, scope: Scope, *, trusting: bool) -> None:
        self.scope = scope
        self.trusting = trusting
        self.used: set[str] = set()
        self._depth = 0
        self._held = 0

    def whole(self, node: ast.expr, expect: Expected) -> str:
        """Return the source of the whole expression. Raises `Refused`."""
        if expect == "bool":
            return self._condition(node)
        piece = self._write(node)
        if expect == "number":
            self._expect(node, piece, "number")
            return f"_number({piece.source})"
        return piece.source

    def _write(self, node: ast.expr) -> _Piece:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise Refused(f"nested deeper than {DEPTH_MAX}", node)
        match node:
            case ast.Constant():
                piece = self._literal(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                piece = self._name(node)
            case ast.BoolOp():
                sign = " and " if isinstance(node.op, ast.And) else " or "
                piece = _Piece(f"({sign.join(map(self._condition, node.values))})", "bool")
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                piece = self._unary(node)
            case ast.BinOp(op=op) if type(op) in _CALCULATIONS:
                piece = self._binary(node)
            case ast.Compare():
                piece = self._comparison(node)
            case ast.IfExp():
                piece = self._choice(node)
            case ast.Call():
                piece = self._call(node)
            case ast.List() | ast.Tuple():
                raise Refused("a list may only stand after `in`", node)
            case _:
                raise Refused("this is not part of expressions", node)
        self._depth -= 1
        return piece

    def _unary(self, node: ast.UnaryOp) -> _Piece:
        if isinstance(node.op, ast.Not):
            return _Piece(f"(not {self._condition(node.operand)})", "bool")
        if isinstance(node.operand, ast.Constant):
            piece = self._literal(node.operand)
            self._expect(node.operand, piece, "number")
            return _Piece(f"(-{piece.source})", "number")
        return self._calculation([node.operand], "-{}", "_negative")

    def _choice(self, node: ast.IfExp) -> _Piece:
        condition = self._condition(node.test)
        then, other = self._write(node.body), self._write(node.orelse)
        source = f"({then.source} if {condition} else {other.source})"
        return self._joined(source, [then, other], then.nullable or other.nullable)

    # --- names and literals

    def _literal(self, node: ast.Constant) -> _Piece:
        match node.value:
            case None:
                return _Piece("None", "none", True)
            case bool():
                return _Piece(repr(node.value), "bool")
            case str():
                return _Piece(repr(node.value), "text")
            case int() | float():
                if (
                    abs(node.value) > _INTEGER_MAX
                    if isinstance(node.value, int)
                    else not math.isfinite(node.value)
                ):
                    raise Refused("this number is too large", node)
                return _Piece(repr(node.value), "number")
        raise Refused("this is not part of expressions", node)

    def _name(self, node: ast.expr) -> _Piece:
        parts, key = self._spelled(node)
        whole = ".".join(parts)
        if key is None and whole in self.scope.names:
            name = self.scope.names[whole]
            self.used.add(whole)
            return self._result(
                name.code, name.type, name.nullable or name.type == "bool"
            )  # a bool: made sure of in conditions
        for cut in range(len(parts), 0, -1):
            prefix, inner = ".".join(parts[:cut]), [*parts[cut:], *([key] if key is not None else [])]
            if inner and prefix in self.scope.open:
                plain = all(part.isidentifier() and not keyword.iskeyword(part) for part in inner)
                self.used.add(f"{prefix}.{'.'.join(inner)}" if plain else f"{prefix}[{'.'.join(inner)!r}]")
                return _Piece(self.scope.open[prefix].format(key=".".join(inner)), "any", True)
        if whole in self.scope.open:
            raise Refused(f"`{whole}` needs a name after it, such as `{whole}.total`", node)
        if parts[0] in self.scope.names:
            raise Refused(f"`{parts[0]}` is one value and has nothing inside", node)
        raise Refused(f"unknown name `{whole}`{suggest(whole, [*self.scope.names, *self.scope.open])}", node)

    def _spelled(self, node: ast.expr) -> tuple[list[str], str | None]:
        """`a.b` as ["a", "b"], None; `a["b c"]` as ["a"], "b c"."""
        key = None
        if isinstance(node, ast.Subscript):
            if not isinstance(node.slice, ast.Constant) or not isinstance(node.slice.value, str):
                raise Refused('only a name in quotes goes into brackets: properties["Order Total"]', node)
            key, node = node.slice.value, node.value
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise Refused("only a name may have a dot or brackets after it", node)
        return [node.id, *parts], key

    # --- conditions and calculations

    def _condition(self, node: ast.expr) -> str:
        piece = self._write(node)
        if piece.type == "any" or (piece.type == "bool" and piece.nullable):
            return f"(not not {piece.source})"
        if piece.type != "bool":
            raise Refused(f"expected a condition, this is {_NAMED[piece.type]}", node)
        return piece.source

    def _binary(self, node: ast.BinOp) -> _Piece:
        sign, operation = _CALCULATIONS[type(node.op)]
        if sign in "/%" and not (
            isinstance(node.right, ast.Constant) and node.right.value
        ):  # the divisor may be nothing
            held = self._hold()
            return self._calculation(
                [node.left, node.right],
                f"({{0}} {sign} {held} if ({held} := {{1}}) else None)",
                operation,
                may_fail=True,
            )
        return self._calculation([node.left, node.right], f"{{}} {sign} {{}}", operation)

    def _calculation(
        self,
        operands: Sequence[ast.expr],
        form: str,
        operation: str,
        *,
        may_fail: bool = False,
        more: str = "",
    ) -> _Piece:
        """Numbers into a number: by `form` where all are known to be numbers, else by `operation`; None if it
        `may_fail`."""
        pieces = [self._write(operand) for operand in operands]
        for operand, piece in zip(operands, pieces, strict=True):
            self._expect(operand, piece, "number")
        if not form or not self._known(*pieces):
            return self._result(
                f"{operation}({', '.join(piece.source for piece in pieces)}{more})", "number", True
            )
        guards, sources = self._guarded(pieces)
        missing = " or ".join(f"{guard} is None" for guard in guards)
        result = form.format(*sources)
        return _Piece(
            f"(None if {missing} else {result})" if guards else f"({result})",
            "number",
            may_fail or bool(guards),
        )

    def _guarded(self, pieces: Sequence[_Piece]) -> tuple[list[str], list[str]]:
        """What must not be None, each held in a local; and the sources to go on with."""
        guards, sources = [], []
        for piece in pieces:
            if piece.nullable:
                held = self._hold()
                guards.append(f"({held} := {piece.source})")
                sources.append(held)
            else:
                sources.append(piece.source)
        return guards, sources

    def _hold(self) -> str:
        self._held += 1
        return f"_{self._held}"

    def _known(self, *pieces: _Piece) -> bool:
        """Whether the types of all of these are known, so that plain Python will do."""
        return self.trusting and all(piece.type != "any" for piece in pieces)

    def _result(self, source: str, kind: Type, nullable: bool) -> _Piece:
        return (
            _Piece(source, kind, nullable) if self.trusting and kind != "any" else _Piece(source, "any", True)
        )

    def _expect(self, node: ast.expr, piece: _Piece, *kinds: Type) -> None:
        if piece.type not in (*kinds, "any"):
            raise Refused(
                f"expected {' or '.join(_NAMED[kind] for kind in kinds)}, this is {_NAMED[piece.type]}", node
            )

    def _joined(self, source: str, pieces: Sequence[_Piece], nullable: bool) -> _Piece:
        """One of several: of their type if they share one."""
        kinds = {piece.type for piece in pieces} - {"none"}
        return (
            _Piece(source, kinds.pop(), nullable)
            if len(kinds) == 1 and "any" not in kinds
            else _Piece(source, "any", True)
        )

    # --- comparisons

    def _comparison(self, node: ast.Compare) -> _Piece:
        nodes = [node.left, *node.comparators]
        pieces = [self._write(node.left)]
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)) and isinstance(comparator, (ast.List, ast.Tuple)):
                pieces.append(self._list(comparator))
            else:
                pieces.append(self._write(comparator))
        links = []
        for index, op in enumerate(node.ops):
            left, right = pieces[index], pieces[index + 1]
            if index + 2 < len(pieces) and right.type != "list":  # it is compared twice, but computed once
                held = self._hold()
                pieces[index + 1] = msgspec.structs.replace(right, source=held)
                right = msgspec.structs.replace(right, source=f"({held} := {right.source})")
            links.append(self._link(op, nodes[index], left, nodes[index + 1], right))
        return _Piece(links[0] if len(links) == 1 else f"({' and '.join(links)})", "bool")

    def _link(
        self, op: ast.cmpop, left_node: ast.expr, left: _Piece, right_node: ast.expr, right: _Piece
    ) -> str:
        if isinstance(op, (ast.Is, ast.IsNot)):
            raise Refused("`is` is not part of expressions; has(x) says whether there is a value", left_node)
        if isinstance(op, (ast.In, ast.NotIn)):
            return self._membership(left_node, left, right_node, right, negated=isinstance(op, ast.NotIn))
        if isinstance(op, (ast.Eq, ast.NotEq)):
            alike = (
                left.type == right.type
                or "any" in (left.type, right.type)
                or "none" in (left.type, right.type)
            )
            if not alike or "list" in (left.type, right.type) or left.type == right.type == "set":
                raise Refused(f"{_NAMED[right.type]} is never equal to {_NAMED[left.type]}", right_node)
            if {left.type, right.type} <= {"any", "number"} and "any" in (
                left.type,
                right.type,
            ):  # either may be a number written as text
                return f"({'' if isinstance(op, ast.Eq) else 'not '}_equal({left.source}, {right.source}))"
            return f"({left.source} {'==' if isinstance(op, ast.Eq) else '!='} {right.source})"
        sign, operation, exchanged = _ORDERS[type(op)]
        for node, piece in ((left_node, left), (right_node, right)):
            self._expect(node, piece, "number", "text")
        if "any" not in (left.type, right.type) and left.type != right.type:
            raise Refused(f"{_NAMED[right.type]} cannot be compared with {_NAMED[left.type]}", right_node)
        if not self._known(left, right):
            return (
                f"{operation}({right.source}, {left.source})"
                if exchanged
                else f"{operation}({left.source}, {right.source})"
            )
        guards, sources = self._guarded([left, right])
        return f"({''.join(f'{guard} is not None and ' for guard in guards)}{sources[0]} {sign} {sources[1]})"

    def _membership(
        self, left_node: ast.expr, left: _Piece, right_node: ast.expr, right: _Piece, *, negated: bool
    ) -> str:
        if right.type == "list":
            if left.type != "any" and right.holds - {left.type, "none"}:
                raise Refused(f"the list holds what is never equal to {_NAMED[left.type]}", right_node)
            inside = "_listed({}, {})" if left.type == "any" and "number" in right.holds else "({} in {})"
            if not negated:
                return inside.format(left.source, right.source)
            guards, sources = self._guarded([left])
            guarded = "".join(f"{guard} is not None and " for guard in guards)
            return f"({guarded}not {inside.format(sources[0], right.source)})"
        self._expect(left_node, left, "text")
        if right.type == "text":
            raise Refused(
                "`in` looks into sets and lists; for text there is contains(text, part)", right_node
            )
        self._expect(right_node, right, "set")
        if self._known(left, right) and not (left.nullable or right.nullable):
            return f"({left.source} {'not in' if negated else 'in'} {right.source})"
        return f"{'_not_among' if negated else '_among'}({left.source}, {right.source})"

    def _list(self, node: ast.List | ast.Tuple) -> _Piece:
        elements = []
        for element in node.elts:
            number = (
                element.operand
                if isinstance(element, ast.UnaryOp) and isinstance(element.op, ast.USub)
                else element
            )
            if not isinstance(number, ast.Constant):
                raise Refused("a list holds only numbers, texts, True, False and None", element)
            elements.append(self._write(element))
        source = "".join(f"{element.source}, " for element in elements)
        return _Piece(f"({source})", "list", holds=frozenset(element.type for element in elements))

    # --- functions

    def _call(self, node: ast.Call) -> _Piece:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise Refused(f"unknown function{f' `{name}`' if name else ''}{suggest(name, FUNCTIONS)}", node)
        least, most = FUNCTIONS[name]
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise Refused(f"{name}() takes plain arguments only", node)
        if not least <= len(node.args) <= most:
            expected = least if least == most else f"{least} to {most}"
            raise Refused(f"{name}() takes {expected} arguments, got {len(node.args)}", node)
        match name:
            case "min" | "max" | "abs":
                return self._calculation(
                    node.args, f"{name}({', '.join('{}' for _ in node.args)})", f"_{name}"
                )
            case "round":
                return self._calculation(node.args[:1], "", "_round", more=self._digits(node.args[1:]))
            case "len":
                piece = self._write(node.args[0])
                self._expect(node.args[0], piece, "text", "set")
                return self._called(name, "len({})", [piece], "number")
            case "lower" | "upper":
                piece = self._write(node.args[0])
                self._expect(node.args[0], piece, "text")
                return self._called(name, f"{{}}.{name}()", [piece], "text")
            case "startswith" | "contains":
                pieces = [self._write(argument) for argument in node.args]
                for argument, piece in zip(node.args, pieces, strict=True):
                    self._expect(argument, piece, "text")
                piece = self._called(
                    name, "{}.startswith({})" if name == "startswith" else "({1} in {0})", pieces, "bool"
                )
                return _Piece(piece.source, "bool")  # missing text starts with nothing: False, not missing
            case "coalesce":
                return self._coalesce([self._write(argument) for argument in node.args])
            case _:  # has
                if not isinstance(node.args[0], (ast.Name, ast.Attribute, ast.Subscript)):
                    raise Refused("has() asks about a name", node.args[0])
                return _Piece(f"({self._write(node.args[0]).source} is not None)", "bool")

    def _called(self, name: str, form: str, pieces: Sequence[_Piece], kind: Type) -> _Piece:
        """`form` where all arguments are there and of known type, else the operation."""
        if self._known(*pieces) and not any(piece.nullable for piece in pieces):
            return _Piece(form.format(*(piece.source for piece in pieces)), kind)
        return self._result(f"_{name}({', '.join(piece.source for piece in pieces)})", kind, True)

    def _coalesce(self, pieces: Sequence[_Piece]) -> _Piece:
        *earlier, last = pieces
        source = last.source
        for piece in reversed(earlier):
            held = self._hold()
            source = f"({held} if ({held} := {piece.source}) is not None else {source})"
        return self._joined(source, pieces, all(piece.nullable for piece in pieces))

    def _digits(self, nodes: Sequence[ast.expr]) -> str:
        for node in nodes:
            if (
                not isinstance(node, ast.Constant)
                or type(node.value) is not int
                or not 0 <= node.value <= _DIGITS_MAX
            ):
                raise Refused(f"round() takes a number of digits from 0 to {_DIGITS_MAX}", node)
            return f", {node.value}"
        return ""
