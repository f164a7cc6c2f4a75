"""The grammar: what each filter keeps, and what each mistake says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lapel.retrieval.filter_tree import And, Column, Compare, In, Not, Or
from lapel.retrieval.filters import FilterError, parse
from lapel.retrieval.rendering import mask, sql

COLUMNS = [
    Column("colour", "label_colour", "labels"),
    Column("brand", "meta_brand", "text"),
    Column("price", "meta_price", "integer"),
    Column("rating", "meta_rating", "number"),
    Column("sale", "meta_sale", "truth"),
    Column("in stock", "meta_in stock", "integer"),
    Column('a"b', 'meta_a"b', "text"),
]
TABLE = pa.table(
    {
        "label_colour": pa.array([["Red"], ["Red", "Blue"], None, ["Light Blue"]], pa.list_(pa.string())),
        "meta_brand": ["it's", "100%", None, "a_b\nc"],
        "meta_price": pa.array([10, None, 30, 40], pa.int64()),
        "meta_rating": pa.array([0.5, 1.5, 2.5, None]),
        "meta_sale": pa.array([True, False, None, True]),
        "meta_in stock": pa.array([1, 2, 3, 4], pa.int64()),
        'meta_a"b': ["x", "y", "z", None],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("colour = 'Red'", [0, 1]),
        ("colour = 'red'", []),
        ("colour != 'Red'", [3]),
        ("NOT colour = 'Red'", [2, 3]),
        ("colour IN ('Blue', 'Light Blue')", [1, 3]),
        ("colour NOT IN ('Blue')", [0, 3]),
        ("colour LIKE '%Blue'", [1, 3]),
        ("colour NOT LIKE '%Blue'", [0]),
        ("colour IS NULL", [2]),
        ("colour IS NOT NULL AND price IS NOT NULL", [0, 3]),
        ("colour = 'Red' AND colour = 'Blue'", [1]),
        ("brand = 'it''s'", [0]),
        ("brand LIKE '100\\%'", [1]),
        ("brand LIKE '%b_c'", [3]),
        ("brand LIKE 'a\\_b%'", [3]),
        ("brand LIKE '%'", [0, 1, 3]),
        ("brand NOT LIKE 'i%'", [1, 3]),
        ("brand >= 'a'", [0, 3]),
        ("brand <> '100%'", [0, 3]),
        ("price < 30", [0]),
        ("price <= 30", [0, 2]),
        ("price > 29.5", [2, 3]),
        ("price >= 29.5", [2, 3]),
        ("price < 29.5", [0]),
        ("price = 10.0", [0]),
        ("price = 10.5", []),
        ("price != 10.5", [0, 2, 3]),
        ("price < 1e300", [0, 2, 3]),
        ("price > -99999999999999999999", [0, 2, 3]),
        ("price >= 99999999999999999999", []),
        ("price IN (10, 30.0, 40.5, 1e30)", [0, 2]),
        ("price BETWEEN 10 AND 30", [0, 2]),
        ("price NOT BETWEEN 10 AND 30", [3]),
        ("NOT price BETWEEN 10 AND 30", [1, 3]),
        ("rating >= 1", [1, 2]),
        ("rating = +1.5", [1]),
        ("rating > -.5e1", [0, 1, 2]),
        ("sale = true", [0, 3]),
        ("sale != TRUE", [1]),
        ("sale IN (false)", [1]),
        ('"in stock" > 2', [2, 3]),
        ('"a""b" = \'y\'', [1]),
        ("price = 10 OR price = 30 AND colour IS NULL", [0, 2]),
        ("(price = 10 OR price = 30) AND colour IS NULL", [2]),
        ("not not price=10", [0]),
        ("NOT (price = 10 OR rating > 1)", [3]),
        ("  price\n=\t10  ", [0]),
    ],
)
def test_rows(text: str, rows: list[int]) -> None:
    assert np.flatnonzero(mask(parse(text, COLUMNS), TABLE)).tolist() == rows


@pytest.mark.parametrize(
    ("text", "reason", "under"),
    [
        ("", "expected a column name, found the end of the filter", ""),
        ("colur = 'Red'", "unknown column 'colur'; did you mean 'colour'? Known: colour, brand", "colur"),
        (
            'colour = "Red"',
            "'colour' holds labels: write 'words' in single quotes; found name 'Red'",
            '"Red"',
        ),
        ("colour = Red", "write 'words' in single quotes; found word 'Red'", "Red"),
        ("colour = 3", "'colour' holds labels", "3"),
        ("colour < 'Red'", "< needs an order, which labels do not have", "'Red'"),
        ("price = '10'", "'price' holds whole numbers; found text '10'", "'10'"),
        ("price = true", "'price' holds whole numbers; found word 'true'", "true"),
        ("price = 1e999", "this number is too large", "1e999"),
        ("price LIKE '1%'", "LIKE is for text; 'price' holds whole numbers", "'1%'"),
        ("sale = 'yes'", "'sale' holds true or false", "'yes'"),
        ("sale > false", "'sale' takes =, != and IN", "false"),
        ("price == 10", "expected a value", "="),
        ("price = ", "expected a value; 'price' holds whole numbers; found the end of the filter", ""),
        (
            "price 10",
            "expected = != < <= > >= IN, LIKE, BETWEEN or IS after 'price', found number '10'",
            "10",
        ),
        ("price NOT 10", "expected IN, LIKE or BETWEEN after 'price'", "10"),
        ("price = 10 price = 20", "expected AND, OR or the end, found word 'price'", "price"),
        ("(price = 10", "expected ), found the end of the filter", ""),
        ("price IN 10", "expected (, found number '10'", "10"),
        ("price IN ()", "expected a value", ")"),
        ("price BETWEEN 1 OR 2", "expected AND, found word 'OR'", "OR"),
        ("price IS 10", "expected NULL", "10"),
        ("brand = 'open", "this ' is never closed", "'open"),
        ('"open = 3', 'this " is never closed', '"open = 3'),
        ("brand LIKE 'a\\b'", "a backslash stands before", "'a\\b'"),
        ("price = 10; DROP TABLE images", "';' means nothing here", ";"),
        ("price = 10 -- all", "'-' means nothing here", "-"),
        ("'Red' = colour", "expected a column name, found text 'Red'", "'Red'"),
        ("price = in stock", "found word 'in'", "in"),
        ("AND", "expected a column name, found word 'AND'", "AND"),
        ("NOT " * 200 + "price = 1", "more than 100 levels deep", "NOT"),
        ("(" * 200 + "price = 1", "more than 100 levels deep", "("),
    ],
)
def test_mistakes(text: str, reason: str, under: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text, COLUMNS)
    first, shown, carets = str(caught.value).split("\n")
    assert reason in first
    marked = shown[carets.index("^") : carets.rindex("^") + 1]
    assert marked == under, f"{shown}\n{carets}"


def test_caret_follows_a_long_filter() -> None:
    text = " OR ".join(["price = 10"] * 40) + " OR prize = 3" + " OR price = 10" * 40
    with pytest.raises(FilterError, match="did you mean 'price'") as caught:
        parse(text, COLUMNS)
    _, shown, carets = str(caught.value).split("\n")
    assert shown[carets.index("^") :].startswith("prize")
    assert len(shown) < 120


def test_shape_of_the_tree() -> None:
    tree = parse("price = 1 OR NOT price = 2 AND price IN (3)", COLUMNS)
    price = COLUMNS[2]
    one, two = Compare(price, "=", 1), Compare(price, "=", 2)
    assert tree == Or((one, And((Not(two), In(price, (3,))))))


def test_sql_quotes_what_is_written() -> None:
    found = sql(parse("brand = 'x'' OR 1=1 --' AND \"a\"\"b\" LIKE '%''%'", COLUMNS), lambda column: [])
    assert found == (
        "((`meta_brand` IS NOT NULL AND `meta_brand` = 'x'' OR 1=1 --') AND "
        "(`meta_a\"b` IS NOT NULL AND `meta_a\"b` LIKE '%''%'))"
    )
