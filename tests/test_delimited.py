"""CSV files as shops and spreadsheets write them are read, and a broken one is refused at its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel.delimited import read_csv
from lapel.errors import CatalogueError

PLAIN = "image,neckline\na.jpg,V-neck\nb.jpg,\n"
EXPECTED = {"image": ["a.jpg", "b.jpg"], "neckline": ["V-neck", None]}


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "catalogue.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ";").encode("utf-8-sig"),
        "\n\n" + PLAIN.replace("\n", "\n\n"),
        " image , neckline \na.jpg,V-neck\nb.jpg,\n",
        '"image","neckline"\n"a.jpg","V-neck"\n"b.jpg",""\n',
        '"image";"neckline"\r\n"a.jpg";"V-neck"\r\n"b.jpg";\r\n',
        "image,neckline,,\na.jpg,V-neck,,\nb.jpg,,,\n",
        ",image,neckline\n0,a.jpg,V-neck\n1,b.jpg,\n",
        "image;neckline;\na.jpg;V-neck;\nb.jpg;;\n",
    ],
)
def test_many_ways_to_write_the_same(tmp_path: Path, content: str | bytes) -> None:
    assert read_csv(write(tmp_path, content)).to_pydict() == EXPECTED


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0012", "0012"),
        ("1.50", "1.50"),
        ("true", "true"),
        ("NA", "NA"),
        ("null", "null"),
        ("nan", "nan"),
        ('""', None),
        ("", None),
        ('"a, b"', "a, b"),
        ('"two\nlines"', "two\nlines"),
        ('"she said ""V"""', 'she said "V"'),
        ('5" heel', '5" heel'),
        ("Ärmel 袖 👗", "Ärmel 袖 👗"),
        ("1;5", "1;5"),
        ("#1", "#1"),
        ("a\\b", "a\\b"),
    ],
)
def test_cells_are_text_as_it_stands(tmp_path: Path, cell: str, value: str | None) -> None:
    for content in (f"image,n\na,{cell}\nb,x\n", f"image,n\na,x\nb,{cell}\n"):
        assert value in read_csv(write(tmp_path, content)).to_pydict()["n"]


def test_the_decimal_comma_of_a_semicolon_file_stays(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "image;price;box\na.jpg;12,50;1 2 3 4\n"))
    assert table.to_pydict() == {"image": ["a.jpg"], "price": ["12,50"], "box": ["1 2 3 4"]}


def test_the_separator_is_the_one_that_gives_a_column_image(tmp_path: Path) -> None:
    assert read_csv(write(tmp_path, "image,a;b\nx,1;2\n")).column_names == ["image", "a;b"]
    assert read_csv(write(tmp_path, "a,b;image\n1,2;x\n")).column_names == ["a,b", "image"]
    assert read_csv(write(tmp_path, "image\nx;y\n")).to_pydict() == {"image": ["x;y"]}


def test_a_name_of_two_lines(tmp_path: Path) -> None:
    assert read_csv(write(tmp_path, 'image,"two\nlines"\na,b\n')).to_pydict() == {"image": ["a"], "two\nlines": ["b"]}


def test_only_a_header_has_no_rows(tmp_path: Path) -> None:
    assert read_csv(write(tmp_path, "image,neckline\n")).num_rows == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: expected a header line with a column 'image'"),
        ("\n \n\n", "is empty"),
        ("image,neckline", "has no rows"),
        ("Image,neckline\na,b\n", "has no column 'image'; found: Image, neckline. Name the column"),
        ("image|neckline\na|b\n", "has no column 'image'; found: image|neckline"),
        ("image,fit,fit\na,b,c\n", "has two columns named 'fit': rename one"),
        ("image,fit, fit \na,b,c\n", "has two columns named 'fit'"),
        ("image;fit;fit\na;b;c\n", "has two columns named 'fit'"),
        ("image,image\na,b\n", "has two columns named 'image'"),
        ("image,,fit\na,round,c\n", "column 2 has no name: give it one in the first line"),
        ("image,fit\na,b\nc\n", "row 3: expected 2 cells as in the first line, found 1: 'c'"),
        (
            "image,fit\na,b\nc,d,e\n",
            "row 3: expected 2 cells as in the first line, found 3: 'c,d,e'. A cell with a comma",
        ),
        (
            "image;fit\na;b;c\n",
            "row 2: expected 2 cells as in the first line, found 3: 'a;b;c'. A cell with a semicolon",
        ),
        ("image,fit\n\na,b\n\n\nc\n", "row 3: expected 2 cells"),
        ("image,fit\n" + "a,b\n" * 400_000 + "c\n", "row 400002: expected 2 cells"),
        ('image,fit\n"a\nb",c\nd\n', "row 3: expected 2 cells"),
        ('image,fit\na,b\nc,"d\ne,f\ng,h\n', "row 3: a quote is opened and never closed"),
        ('image,fit\na,b\nc,"d\n', "row 3: a quote is opened and never closed"),
        ('image,fit\na,"b\n' + "c,d\n" * 400_000, "row 2: a quote is opened and never closed"),
        ('image,fit\na,"b,c\nd,e\n', "row 2: "),
        ("image,fit\na,Ärmel\n".encode("latin-1"), "line 2 is not UTF-8 text (byte 0xc4): save it as 'CSV UTF-8'"),
        (b"image,fit\n" + b"a,b\n" * 400_000 + b"c,\xfc\n", "line 400002 is not UTF-8 text (byte 0xfc)"),
        ("image,Ärmel\na,b\n".encode("cp1252"), "line 1 is not UTF-8 text (byte 0xc4)"),
        (PLAIN.encode("utf-16"), "is UTF-16 text, expected UTF-8"),
        (PLAIN.encode("utf-16-be").join([b"\xfe\xff", b""]), "is UTF-16 text, expected UTF-8"),
    ],
)
def test_broken_files(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(CatalogueError) as caught:
        read_csv(path)
    assert str(caught.value).startswith(f"{path}")
    assert message in str(caught.value)


def test_quotes_that_are_closed_are_not_refused(tmp_path: Path) -> None:
    for end in ("", "\n", "\r\n", "\n\n", " \n"):
        table = read_csv(write(tmp_path, f'image,fit\na,b\nc,"d\ne"{end}'))
        assert table.num_rows == 2


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("photo,fit\na,b\n", ["photo", "fit"]),
        ("photo;fit;price\na;b;1,50\n", ["photo", "fit", "price"]),
        ("photo\tsaid, thought\na\tb\n", ["photo", "said, thought"]),
        ("photo\na\n", ["photo"]),
    ],
)
def test_no_column_is_needed_where_none_is_named(tmp_path: Path, content: str, names: list[str]) -> None:
    assert read_csv(write(tmp_path, content), needed="").column_names == names
    with pytest.raises(CatalogueError, match="has no column 'image'"):
        read_csv(write(tmp_path, content))
    with pytest.raises(CatalogueError, match=r"is empty: expected a header line$"):
        read_csv(write(tmp_path, "\n"), needed="")


@pytest.mark.parametrize("before", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_of_another_length_can_be_left_out(tmp_path: Path, before: str, end: str) -> None:
    rows = ["image,fit", "a,slim", "b", '"c\nd",wide', "", "e,f,g", "h,slim", "i"]
    found: dict[int, str] = {}
    table = read_csv(write(tmp_path, before + end.join(rows) + end), skip=found.__setitem__)
    assert table.to_pydict() == {"image": ["a", "c\nd", "h"], "fit": ["slim", "wide", "slim"]}
    assert sorted(found) == [3, 5, 7]
    assert found[5] == (
        "expected 2 cells as in the first line, found 3: 'e,f,g'. A cell with a comma in it needs quotes"
    )
