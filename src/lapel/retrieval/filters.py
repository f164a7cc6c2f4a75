"""The filter grammar of ``--where``: parsed to a small tree, run by pyarrow or rendered as SQL for an engine.

Grammar (keywords in either case)::

    filter     = term { OR term }
    term       = factor { AND factor }
    factor     = NOT factor | "(" filter ")" | test
    test       = column ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) literal
               | column [NOT] IN "(" literal { "," literal } ")"
               | column [NOT] LIKE text
               | column [NOT] BETWEEN literal AND literal
               | column IS [NOT] NULL
    column     = bare_name | "quoted name"            a " inside a quoted name is written ""
    literal    = text | number | TRUE | FALSE
    text       = 'single quotes'                      a ' inside text is written ''

In LIKE, ``%`` stands for any characters, ``_`` for one; ``\\%``, ``\\_`` and ``\\\\`` are those characters
themselves.

A column is metadata (text, integer, number or true/false) or an attribute, whose labels are a set of values:
``neckline = 'V-neck'``, IN and LIKE hold when *any* of the image's values does, and ``!=``, NOT IN and NOT
LIKE when the image is labelled and *none* of its values does. Labels have no order.

What is missing: every test of a missing value is false, also ``!=``, NOT IN, NOT LIKE and NOT BETWEEN; only
IS NULL is true. ``NOT test`` is plain negation, so ``NOT colour = 'Red'`` keeps images without a colour and
``colour != 'Red'`` does not. There is no third truth value, and every engine gives the same rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn, TypeAlias

from lapel.errors import SearchIndexError, unknown
from lapel.retrieval.filter_tree import And, Column, Compare, Filter, In, IsNull, Kind, Like, Not, Or, Value

Span: TypeAlias = tuple[int, int]
INT64 = range(-(2**63), 2**63)
MAX_DEPTH = 100


class FilterError(SearchIndexError):
    """A filter that cannot be understood; the message points at the place."""


def parse(text: str, columns: Iterable[Column]) -> Filter:
    """Parse a filter and check it against the columns there are.

    Raises:
        FilterError: bad syntax, an unknown column, or a value of another type than the column's; it says
            where.

    >>> parse("price < 50", [Column("price", "meta_price", "integer")])
    Compare(column=Column(name='price', field='meta_price', kind='integer'), op='<', value=50)
    """
    return _Parser(text, {column.name: column for column in columns}).filter()


class _Token(NamedTuple):
    kind: str  # "name" (a quoted name), "word" (a bare name or keyword), "text", "number", "mark", "end"
    value: str
    span: Span


_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*")|(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<word>[^\W\d]\w*)|(?P<mark><=|>=|!=|<>|[=<>(),])"""
)
_COMPARE = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_KEYWORDS = {"AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"}
_WHAT: dict[Kind, str] = {
    "text": "text: write 'words' in single quotes",
    "labels": "labels: write 'words' in single quotes",
    "integer": "whole numbers",
    "number": "numbers",
    "truth": "true or false",
}


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str, columns: Mapping[str, Column]) -> None:
        self.text, self.columns, self.position, self.depth = text, columns, 0, 0
        self.tokens = self.tokenise()

    def tokenise(self) -> list[_Token]:
        tokens: list[_Token] = []
        place = 0
        while True:
            place += len(self.text[place:]) - len(self.text[place:].lstrip())
            if place == len(self.text):
                return [*tokens, _Token("end", "", (place, place + 1))]
            match = _TOKEN.match(self.text, place)
            if match is None:
                rest = self.text[place:]
                if rest[0] in "'\"":
                    self.fail(f"this {rest[0]} is never closed", (place, len(self.text)))
                self.fail(f"{rest[0]!r} means nothing here", (place, place + 1))
            value, kind = match.group(), str(match.lastgroup)
            if kind in ("text", "name"):
                value = value[1:-1].replace(value[0] * 2, value[0])
            tokens.append(_Token(kind, value, match.span()))
            place = match.end()

    def fail(self, reason: str, span: Span) -> NoReturn:
        """Raise with the filter's text and a line of carets under ``span``."""
        start = max(0, span[0] - 60)
        shown = re.sub(r"\s", " ", self.text[start : start + 110])
        carets = "^" * max(1, min(span[1], start + 110) - span[0])
        raise FilterError(f"bad filter: {reason}\n  {shown}\n  {' ' * (span[0] - start)}{carets}")

    @property
    def now(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.now
        self.position += token.kind != "end"
        return token

    def accept(self, *values: str) -> bool:
        """Step over one mark or keyword if it is there."""
        found = self.now.kind in ("word", "mark") and self.now.value.upper() in values
        self.position += found
        return found

    def expect(self, value: str) -> None:
        if not self.accept(value):
            self.fail(f"expected {value}, found {_found(self.now)}", self.now.span)

    def filter(self) -> Filter:
        tree = self.either()
        if self.now.kind != "end":
            self.fail(f"expected AND, OR or the end, found {_found(self.now)}", self.now.span)
        return tree

    def either(self) -> Filter:
        parts = [self.both()]
        while self.accept("OR"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self) -> Filter:
        parts = [self.factor()]
        while self.accept("AND"):
            parts.append(self.factor())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def factor(self) -> Filter:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"more than {MAX_DEPTH} levels deep", self.now.span)
        if self.accept("NOT"):
            tree: Filter = Not(self.factor())
        elif self.accept("("):
            tree = self.either()
            self.expect(")")
        else:
            tree = self.test()
        self.depth -= 1
        return tree

    def column(self) -> Column:
        token = self.take()
        if token.kind != "name" and (token.kind != "word" or token.value.upper() in _KEYWORDS):
            known = ", ".join(list(self.columns)[:30])
            self.fail(f"expected a column name, found {_found(token)}. Known: {known}", token.span)
        if token.value not in self.columns:
            self.fail(unknown("column", token.value, self.columns), token.span)
        return self.columns[token.value]

    def test(self) -> Filter:
        column = self.column()
        if self.accept("IS"):
            negated = self.accept("NOT")
            self.expect("NULL")
            return IsNull(column, negated)
        negated = self.accept("NOT")
        if self.accept("IN"):
            return self.inside(column, negated)
        if self.accept("LIKE"):
            return self.like(column, negated)
        if self.accept("BETWEEN"):
            low = self.comparison(column, "<" if negated else ">=", "BETWEEN")
            self.expect("AND")
            high = self.comparison(column, ">" if negated else "<=", "BETWEEN")
            return Or((low, high)) if negated else And((low, high))
        token = self.now
        if negated or token.value not in _COMPARE or token.kind != "mark":
            wanted = "IN, LIKE or BETWEEN" if negated else "= != < <= > >= IN, LIKE, BETWEEN or IS"
            self.fail(f"expected {wanted} after {column.name!r}, found {_found(token)}", token.span)
        self.take()
        return self.comparison(column, _COMPARE[token.value], token.value)

    def inside(self, column: Column, negated: bool) -> Filter:
        self.expect("(")
        values = [self.literal(column)]
        while self.accept(","):
            values.append(self.literal(column))
        self.expect(")")
        if column.kind == "integer":
            numbers = (value for value in values if not isinstance(value, str))
            values = [int(value) for value in numbers if value == math.floor(value) and int(value) in INT64]
        return In(column, tuple(values), negated)

    def like(self, column: Column, negated: bool) -> Filter:
        if column.kind not in ("text", "labels"):
            self.fail(f"LIKE is for text; {column.name!r} holds {_WHAT[column.kind]}", self.now.span)
        span = self.now.span
        pattern = str(self.literal(column))
        if re.search(r"(?<!\\)(?:\\\\)*\\(?:[^%_\\]|$)", pattern, re.DOTALL):
            self.fail("in LIKE a backslash stands before %, _ or another backslash", span)
        return Like(column, pattern, negated)

    def comparison(self, column: Column, op: str, written: str) -> Filter:
        if op not in ("=", "!=") and column.kind in ("labels", "truth"):
            reason = f"{written} needs an order, which {_WHAT[column.kind].split(':')[0]} do not have"
            self.fail(f"{reason}; {column.name!r} takes =, != and IN", self.now.span)
        value = self.literal(column)
        if column.kind == "integer" and not isinstance(value, str):
            return _whole(column, op, value)
        return Compare(column, op, value)

    def literal(self, column: Column) -> Value:
        """Read a literal of the column's type."""
        token = self.take()
        truth = token.kind == "word" and token.value.upper() in ("TRUE", "FALSE")
        wanted = f"{column.name!r} holds {_WHAT[column.kind]}; found {_found(token)}"
        if token.kind in ("mark", "end"):
            self.fail(f"expected a value; {wanted}", token.span)
        if token.kind == "text" and column.kind in ("text", "labels"):
            return token.value
        if truth and column.kind == "truth":
            return token.value.upper() == "TRUE"
        if token.kind != "number" or column.kind not in ("integer", "number"):
            self.fail(wanted, token.span)
        if column.kind == "integer" and re.fullmatch(r"[+-]?\d{1,400}", token.value):
            return int(token.value)
        number = float(token.value)
        if math.isinf(number):
            self.fail("this number is too large", token.span)
        return number


def _found(token: _Token) -> str:
    return "the end of the filter" if token.kind == "end" else f"{token.kind} {token.value!r}"


def _whole(column: Column, op: str, value: float) -> Filter:
    """Rewrite a comparison of an integer column so that its value is an integer of 64 bits."""
    if op in ("=", "!="):
        fits = value == math.floor(value) and int(value) in INT64
        if not fits:
            return In(column, (), negated=op == "!=")
        return Compare(column, op, int(value))
    # x < 2.5 is x < 3 and x <= 2.5 is x <= 2
    whole = math.ceil(value) if op in ("<", ">=") else math.floor(value)
    if whole in INT64:
        return Compare(column, op, whole)
    return In(column, (), negated=(value > 0) == (op in ("<", "<=")))
