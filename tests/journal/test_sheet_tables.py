"""CSV and XLSX files as tables: separators, encodings, sheets, and where the header is."""

import gzip

import openpyxl
import pytest

from ranzcr.errors import ConfigError, DataError, one_line
from ranzcr.journal.sheets.tables import Layout, read


@pytest.fixture
def csv_file(tmp_path):
    def write(text, name="journal.csv", encoding="utf-8"):
        file = tmp_path / name
        file.write_bytes(text.encode(encoding))
        return file

    return write


@pytest.fixture
def xlsx_file(tmp_path):
    def write(rows, name="journal.xlsx", **others):
        book = openpyxl.Workbook()
        book.active.title = "Experiments"
        for title, lines in {"Experiments": rows, **others}.items():
            sheet = book[title] if title in book.sheetnames else book.create_sheet(title)
            for line in lines:
                sheet.append(line)
        book.save(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_commonest_separator_of_the_header_is_used(csv_file, separator):
    lines = ["Model;CV;LB", 'a;"0,97";"0,96"', 'b;"0,98";']
    table = read(csv_file("\n".join(lines).replace(";", separator)), Layout())
    assert table.columns == ["Model", "CV", "LB"]
    assert table.rows[2] == {"Model": "a", "CV": "0,97", "LB": "0,96"}
    assert table.rows[3]["LB"] is None


def test_commas_in_numbers_are_not_separators(csv_file):
    table = read(csv_file("Model;CV;LB\na;0,97;0,96\nb;0,98;0,95\n"), Layout())
    assert table.rows[2] == {"Model": "a", "CV": "0,97", "LB": "0,96"}


def test_a_separator_and_an_encoding_can_be_set(csv_file):
    file = csv_file("Model, or name;CV, LB\na;très bon\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"found .*codec can't decode"):
        read(file, Layout())
    table = read(file, Layout(sep=";", encoding="cp1252"))
    assert table.rows == {2: {"Model, or name": "a", "CV, LB": "très bon"}}


def test_tsv_has_tabs_and_gz_is_unpacked(csv_file, tmp_path):
    assert read(csv_file("a,b\tc\n1\t2\n", "j.tsv"), Layout()).columns == ["a,b", "c"]
    (tmp_path / "j.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    table = read(tmp_path / "j.csv.gz", Layout())
    assert (table.source, table.rows) == ("j", {2: {"a": "1", "b": "2"}})


def test_a_byte_order_mark_is_not_a_part_of_the_first_name(csv_file):
    assert read(csv_file("Model,CV\nÜ,0.9\n", encoding="utf-8-sig"), Layout()).columns[0] == "Model"


def test_the_header_is_the_first_line_unless_another_one_is_set(csv_file):
    text = "Lab journal,,\n\nModel,CV,LB\n,,\na,0.9,0.8\n"
    table = read(csv_file(text), Layout(header_row=3))
    assert table.columns == ["Model", "CV", "LB"]
    assert list(table.rows) == [5]
    with pytest.raises(DataError, match=r"journal.csv: row 4 is empty; set `header_row:` in a"):
        read(csv_file(text), Layout(header_row=4))


def test_the_header_of_a_workbook_can_be_in_another_row(xlsx_file):
    file = xlsx_file([["Lab journal"], ["Model", "CV"], ["a", 0.9]])
    assert read(file, Layout(header_row=2)).rows == {3: {"Model": "a", "CV": 0.9}}


def test_columns_of_one_name_are_told_apart(csv_file):
    table = read(csv_file("Model,Score,Score,CV\na,1,2,0.9\n"), Layout())
    assert table.columns == ["Model", "Score", "Score (2)", "CV"]


def test_a_column_without_a_name_is_kept_if_it_has_cells(csv_file):
    assert read(csv_file("Model,,CV,\na,x,0.9,\n"), Layout()).columns == ["Model", "column B", "CV"]


def test_the_index_that_pandas_writes_is_not_a_column(csv_file):
    assert read(csv_file(",Model\n0,a\n1,b\n"), Layout()).columns == ["Model"]


def test_formulas_without_saved_values_are_noted(xlsx_file):
    table = read(xlsx_file([["Model", "CV"], ["a", "=AVERAGE(0.9, 0.8)"]]), Layout())
    assert table.rows[2]["CV"] is None
    assert table.notes == ["formulas without saved values count as empty: B2"]


def test_of_several_sheets_one_must_be_chosen(xlsx_file):
    file = xlsx_file([["Model"], ["a"]], Ensembles=[["Model"], ["a+b"]])
    with pytest.raises(ConfigError, match="has the sheets Experiments, Ensembles; choose one with"):
        read(file, Layout())
    with pytest.raises(ConfigError, match="has no such sheet; did you mean Ensembles"):
        read(file, Layout(sheet="ensemble"))
    assert read(file, Layout(sheet="Ensembles")).rows == {2: {"Model": "a+b"}}


def test_an_empty_sheet_is_not_a_choice(xlsx_file):
    assert read(xlsx_file([["Model"], ["a"]], Empty=[]), Layout()).columns == ["Model"]


def test_a_google_sheet_has_one_source_as_csv_and_as_xlsx(csv_file, xlsx_file):
    rows = [["Model", "CV"], ["a", 0.9]]
    book = read(xlsx_file(rows, "Lab journal.xlsx", Other=rows), Layout(sheet="Experiments"))
    sheet = read(csv_file("Model,CV\na,0.9\n", "Lab journal - Experiments (1).csv"), Layout())
    assert book.source == sheet.source == "Lab journal - Experiments"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("old.xls", b"x", r"old.xls: expected a readable .xlsx, .csv, .tsv or .txt, found '.xls'"),
        ("bad.xlsx", b"PK but not", "bad.xlsx: expected a readable .*; save it again"),
        ("bad.csv.gz", b"not gzip", "bad.csv.gz: expected .*, found Not a gzipped file"),
        ("empty.csv", b"", "empty.csv: expected .*, found No columns to parse from file"),
        ("blank.csv", b" ,\n1,2\n", r"blank.csv: row 1 is empty; set `header_row:`"),
        ("long.csv", b"Model,CV\na,0.9\nb,0.9,0.8\n", "found Expected 2 fields in line 3, saw 3"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path / name, Layout())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["gone.csv", "gone.xlsx"])
def test_a_missing_file_is_refused_as_everywhere(tmp_path, name):
    with pytest.raises(SystemExit), one_line("ranzcr"):
        read(tmp_path / name, Layout())


def test_text_has_no_sheets(csv_file):
    with pytest.raises(ConfigError, match=r"--sheet x: journal\.csv is text and has no sheets"):
        read(csv_file("Model,CV\na,0.9\n"), Layout(sheet="x"))
