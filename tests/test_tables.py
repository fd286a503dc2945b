"""Tables as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ranzcr.tables import table, to_text

CELLS = st.text(st.characters(exclude_categories=["Cs", "Cn", "Co", "Mn", "Cf"]), max_size=60)


def lines(headings, *rows):
    return to_text([table("title", headings, rows)]).splitlines()


def test_columns_are_below_their_headings():
    assert lines(["run", "CV"], ["a", "0.9"], ["longer", ""]) == [
        "title",
        "run     CV",
        "──────  ───",
        "a       0.9",
        "longer",
    ]


def test_an_empty_line_separates_tables():
    small = table("a", ["x"], [["1"]])
    assert to_text([small, small]).splitlines() == ["a", "x", "─", "1", "", "a", "x", "─", "1"]
    assert to_text([]) == ""


@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=3))
def test_a_row_is_never_wider_than_the_page_and_keeps_all_letters(rows):
    _, *shown = lines(["a" * 80, "b" * 80, "c" * 80], *rows)
    assert max(map(cell_len, shown)) <= 200
    rule = next(index for index, line in enumerate(shown) if line.startswith("──"))
    kept = "".join("".join(shown[rule + 1 :]).split())
    plain = "".join("".join(cell.split()) for row in rows for cell in row if cell.isprintable())
    assert not set(plain) - set(kept)
    if all(cell.isprintable() for row in rows for cell in row):
        assert sorted(kept) == sorted(plain)


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\tb"])
def test_control_characters_are_removed(text):
    assert "\x1b" not in lines(["x"], [text])[3]
    assert len(lines(["x"], [text])) == 4


def test_markup_is_shown_literally():
    assert lines(["x"], ["[red]a[/red] :smile:"])[3] == "[red]a[/red] :smile:"


def test_links_and_the_width_of_the_terminal_are_only_for_terminals(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    linked = table("t", ["name", "run"], [["a rather long name", "abc"]], ["http://x/1"])
    shown = to_text([linked])
    assert "\x1b]8;;http://x/1\x1b\\abc\x1b]8;;\x1b\\" in shown
    assert "a rather long" in shown
    assert "a rather long name" not in shown
    assert to_text([linked], to_file=True).splitlines()[3] == "a rather long name  abc"
