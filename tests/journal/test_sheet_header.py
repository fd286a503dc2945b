"""Real-life files as tables: separators, encodings, titles, merged and repeated headers."""

import openpyxl
import pytest

from ranzcr.errors import ConfigError, DataError
from ranzcr.journal.sheets import grids, header, mapping


def tabulate(file, sheet=None):
    return header.tabulate(grids.read(file, sheet), mapping.recognised)


@pytest.fixture
def csv_file(tmp_path):
    def write(text, name="journal.csv", encoding="utf-8"):
        file = tmp_path / name
        file.write_bytes(text.encode(encoding))
        return file

    return write


@pytest.fixture
def xlsx_file(tmp_path):
    def write(rows, *merged, name="journal.xlsx", **others):
        book = openpyxl.Workbook()
        book.active.title = "Experiments"
        for row in rows:
            book.active.append(row)
        for area in merged:
            book.active.merge_cells(area)
        for title, other in others.items():
            sheet = book.create_sheet(title)
            for row in other:
                sheet.append(row)
        book.save(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(csv_file, separator):
    lines = ["Model;CV;LB", 'a;"0,97";"0,96"', 'b;"0,98";']
    table = tabulate(csv_file("\n".join(lines).replace(";", separator)))
    assert table.columns == ["Model", "CV", "LB"]
    assert table.rows[2] == {"Model": "a", "CV": "0,97", "LB": "0,96"}
    assert table.rows[3]["LB"] is None


def test_commas_in_numbers_are_no_separators(csv_file):
    table = tabulate(csv_file("Model;CV;LB\na;0,97;0,96\nb;0,98;0,95\n"))
    assert table.rows[2] == {"Model": "a", "CV": "0,97", "LB": "0,96"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_part_of_the_first_name(csv_file, encoding):
    table = tabulate(csv_file("Model,CV\nÜber,0.9\n", encoding=encoding))
    assert table.columns[0] == "Model"
    assert table.rows[2]["Model"] == "Über"


def test_latin_1_is_read_and_told(csv_file):
    table = tabulate(csv_file("Model,Comment\na,très bon\n", encoding="latin-1"))
    assert table.rows[2]["Comment"] == "très bon"
    assert "not UTF-8" in table.notes[0]


def test_titles_above_the_header_and_empty_rows_are_passed_over(csv_file):
    text = "Lab journal,,\n,,\nupdated in March,,\nModel,CV,LB\n,,\na,0.9,0.8\n"
    table = tabulate(csv_file(text))
    assert list(table.rows) == [6]


def test_a_header_of_two_lines_with_blanks_to_the_right(csv_file):
    text = "Model,CV,,,LB,\n,fold 0,fold 1,mean,public,private\na,0.9,0.8,0.85,0.7,0.6\n"
    table = tabulate(csv_file(text))
    assert table.columns == [
        *["Model", "CV fold 0", "CV fold 1", "CV mean", "LB public", "LB private"]
    ]
    assert list(table.rows) == [3]


def test_merged_cells_of_a_workbook(xlsx_file):
    rows = [
        ["Lab journal 2021"],
        ["Model", "CV", None, "LB", None, "Comment"],
        [None, "fold 0", "fold 1", "public", "private", None],
        ["a", 0.9, 0.8, 0.7, 0.6, "first"],
        [None, 0.91, 0.81, 0.71, 0.61, "again"],
    ]
    merged = ["A1:F1", "A2:A3", "B2:C2", "D2:E2", "F2:F3", "A4:A5"]
    table = tabulate(xlsx_file(rows, *merged))
    assert table.columns == [
        *["Model", "CV fold 0", "CV fold 1", "LB public", "LB private", "Comment"]
    ]
    assert [row["Model"] for row in table.rows.values()] == ["a", "a"]


def test_columns_of_one_name_are_told_apart(csv_file):
    table = tabulate(csv_file("Model,Score,Score,CV\na,1,2,0.9\n"))
    assert table.columns == ["Model", "Score", "Score (2)", "CV"]
    assert "Score (2)" in table.notes[0]


def test_a_column_without_a_name_is_kept_if_it_has_cells(csv_file):
    table = tabulate(csv_file("Model,,CV,\na,good,0.9,\n"))
    assert table.columns == ["Model", "column B", "CV"]


def test_a_header_that_is_repeated_below_is_no_row(csv_file):
    table = tabulate(csv_file("Model,CV\na,0.9\nModel,CV\nb,0.8\n"))
    assert list(table.rows) == [2, 4]
    assert table.notes == ["rows that repeat the header are left out: 3"]


def test_formulas_without_saved_values_are_told(xlsx_file):
    table = tabulate(xlsx_file([["Model", "CV"], ["a", "=AVERAGE(0.9, 0.8)"]]))
    assert table.rows[2]["CV"] is None
    assert "1 formulas without saved values are taken as empty (B2); open" in table.notes[0]


def test_of_several_sheets_one_must_be_chosen(xlsx_file):
    rows = [["Model", "CV"], ["a", 0.9]]
    file = xlsx_file(rows, Ensembles=[["Ensemble", "CV"], ["a+b", 0.95]])
    with pytest.raises(ConfigError, match="2 filled sheets: Experiments, Ensembles; give one"):
        tabulate(file)
    with pytest.raises(ConfigError, match="has none; did you mean Ensembles"):
        tabulate(file, "ensemble")
    assert tabulate(file, "Ensembles").rows[2]["Ensemble"] == "a+b"


def test_an_empty_sheet_is_no_choice(xlsx_file):
    assert tabulate(xlsx_file([["Model", "CV"], ["a", 0.9]], Empty=[])).columns == ["Model", "CV"]


def test_a_google_sheet_has_one_source_as_csv_and_as_xlsx(csv_file, xlsx_file):
    rows = [["Model", "CV"], ["a", 0.9]]
    book = tabulate(xlsx_file(rows, Other=rows, name="Lab journal.xlsx"), "Experiments")
    sheet = tabulate(csv_file("Model,CV\na,0.9\n", "Lab journal - Experiments (1).csv"))
    assert book.source == sheet.source == "Lab journal - Experiments"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "gone.csv: no such file; check the path"),
        ("old.xls", b"x", "old.xls: a .csv or .xlsx file is expected; save the table as one"),
        ("bad.xlsx", b"PK but not", "bad.xlsx: not an XLSX file, or damaged"),
        ("empty.csv", b"\n ,\n", "empty.csv: no cell is filled"),
        (
            "words.csv",
            b"x,y\n1,2\n",
            "words.csv: no header in the first 25 rows has a known",
        ),
        ("text.csv", b'Model,CV\n"a' + b"x" * 200_000, "text.csv: not a table"),
    ],
)
def test_what_is_no_table_is_told_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as told:
        tabulate(tmp_path / name)
    assert "\n" not in str(told.value)


def test_text_has_no_sheets(csv_file):
    with pytest.raises(ConfigError, match=r"--sheet x: journal\.csv is text, which has no"):
        tabulate(csv_file("Model,CV\na,0.9\n"), "x")
