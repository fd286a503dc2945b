"""The journal as a table, Markdown, a web page, CSV and a workbook."""

import csv
import io
import re

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils import get_column_letter
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.errors import ConfigError, OutputError
from ranzcr.journal import notes, rows, show, spreadsheets
from ranzcr.journal.columns import CELLS, SHOWN
from ranzcr.journal.rows import Selection

NAMES = [column.name for column in SHOWN]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
XML_TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=20)


def rendered(form="table", **options):
    return show.render(rows.select(**options), form)


def filled_row(**cells):
    empty = {column.name: None if column.place == "metrics" else "" for column in CELLS}
    return {**empty, "link": "http://x/#/1", **cells}


def cells_of(path, name):
    """The cells of one column of a workbook, without the heading."""
    sheet = openpyxl.load_workbook(path).active
    return [row[NAMES.index(name)] for row in sheet.iter_rows(min_row=2)]


def written_cell(folder, **cells):
    """The cell of a workbook in which one row with one value was written."""
    (name,) = cells
    show.write(Selection([filled_row(**cells)]), "xlsx", folder / "journal.xlsx")
    (cell,) = cells_of(folder / "journal.xlsx", name)
    return cell


def test_the_table_shows_cv_with_its_interval_and_weights(filled):
    text = rendered()
    assert "0.9000 [0.850, 0.940]" in text
    assert "b7v3_001:0.250" in text
    assert text.index("single") < text.index("pseudo") < text.index("ensemble")


def test_the_table_shows_running_and_failed_but_not_finished(journal_of):
    journal_of({"name": "a", "status": "FAILED"}, {"name": "b", "status": "RUNNING"}, {"name": "c"})
    text = rendered()
    assert ("failed" in text, "running" in text, "finished" in text) == (True, True, False)


def test_many_changes_are_cut_in_a_table_and_complete_in_csv():
    changes = ", ".join(f"setting_{index}: {index}→{index + 1}" for index in range(20))
    selection = Selection([filled_row(kind="single", changed=changes)])
    assert "setting_2: 2→3, … |" in show.render(selection, "md")
    assert "setting_19" not in show.render(selection, "md")
    assert changes in show.render(selection, "csv")


def test_csv_has_every_column_and_reads_back(filled):
    frame = pd.read_csv(io.StringIO(rendered("csv")))
    assert list(frame.columns) == NAMES
    assert frame.cv_auc[0] == 0.92


def test_markdown_is_a_table_per_kind_with_links(filled):
    lines = rendered("md").splitlines()
    assert lines[0] == "## single"
    assert all(line.startswith(("|", "#")) or not line for line in lines)
    assert re.search(
        r"\[\w{8}\]\(http://127.0.0.1:5000/#/experiments/\d+/runs/\w{32}\) \|", lines[4]
    )


def test_special_characters_do_not_break_a_line_of_markdown(journal_of):
    journal_of({"name": "a|b", "tags": {"decision": "two\nlines | \\|"}})
    (line,) = [line for line in rendered("md").splitlines() if "a\\|b" in line]
    assert line.endswith(" |")
    assert "two lines \\| \\\\\\|" in line


def test_html_is_one_page_with_escaped_text(filled):
    notes.decide("b7v3_001", "<script>keep</script> & go")
    page = rendered("html")
    assert page.count("<table>") == page.count("</table>") == 3
    assert "&lt;script&gt;keep&lt;/script&gt; &amp; go" in page
    assert "<td>0.9000 [0.850, 0.940]</td>" in page
    assert page.count("<script>") == 1  # the script that sorts
    assert not re.search(r"<link|src=|url\(|@import", page)


def test_html_has_the_same_cells_as_markdown(filled):
    selection = rows.select()
    page = re.sub(r'<a href="(.*?)">(.*?)</a>', r"[\2](\1)", show.render(selection, "html"))
    lines = [line for line in show.render(selection, "md").splitlines() if line.startswith("| ")]
    markdown = [line[2:-2].split(" | ") for line in lines if "---" not in line]
    cells = [cell.strip() for line in markdown for cell in line]
    assert re.findall("<t[hd]>(.*?)</t[hd]>", page) == cells


@pytest.mark.parametrize("form", ["table", "md", "html"])
def test_the_message_of_an_empty_journal_says_what_to_do(journal, form):
    assert "The journal is empty: run a pipeline, or train a fold." in rendered(form)


def test_files_of_an_empty_journal_have_a_heading(journal, tmp_path):
    assert rendered("csv") == ",".join(NAMES) + "\n"
    show.write(Selection([]), "xlsx", tmp_path / "journal.xlsx")
    assert openpyxl.load_workbook(tmp_path / "journal.xlsx").active.max_row == 1


def test_an_unknown_kind_is_shown_last(journal_of):
    journal_of({"name": "a", "kind": "sweep"}, {"name": "b"})
    assert re.findall("^## (.*)", rendered("md"), re.MULTILINE) == ["single", "sweep"]


def test_a_workbook_has_numbers_links_and_a_frozen_heading(filled, tmp_path):
    show.write(rows.select(kind="single"), "xlsx", tmp_path / "journal.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "journal.xlsx").active
    heading, first = [list(row) for row in sheet.iter_rows(max_row=2)]
    assert [cell.value for cell in heading] == NAMES
    row = dict(zip(NAMES, first, strict=True))
    assert (row["cv_auc"].value, row["cv_auc"].data_type) == (0.91, "n")
    assert (row["image_size"].value, row["image_size"].data_type) == (1024, "n")
    assert row["lb_public"].value is None
    assert row["link"].hyperlink.target == row["link"].value
    assert sheet.freeze_panes == "C2"
    assert sheet.auto_filter.ref == f"A1:{get_column_letter(len(NAMES))}3"


@pytest.mark.parametrize("text", ["=1+1", "#N/A", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_no_text_of_a_workbook_is_a_formula(tmp_path, text):
    cell = written_cell(tmp_path, decision=text)
    assert (cell.value, cell.data_type) == (text, "s")


@settings(deadline=None, max_examples=25)
@given(texts=st.lists(XML_TEXTS, min_size=1, max_size=4))
def test_a_workbook_keeps_its_texts(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("books") / "journal.xlsx"
    show.write(Selection([filled_row(decision=text) for text in texts]), "xlsx", path)
    assert [cell.value or "" for cell in cells_of(path, "decision")] == texts


def test_a_character_that_xml_does_not_allow_is_escaped(tmp_path):
    assert written_cell(tmp_path, decision="a\x00\x1bb").value == "a_x0000__x001B_b"


def test_a_workbook_has_all_digits_of_a_score(tmp_path):
    assert written_cell(tmp_path, cv_auc=0.1 + 0.2).value == 0.1 + 0.2


@given(text=TEXTS)
def test_csv_keeps_its_texts_and_has_no_formula(text):
    selection = Selection([filled_row(decision=text)])
    lines = list(csv.DictReader(io.StringIO(show.render(selection, "csv"), newline="")))
    cell = lines[0]["decision"]
    assert spreadsheets.unquoted(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_negative_numbers_are_numbers_in_csv():
    assert ",-1.5," in show.render(Selection([filled_row(gpu_hours=-1.5)]), "csv")


def test_an_unknown_format_names_the_nearest_and_a_workbook_needs_a_file():
    with pytest.raises(ConfigError, match="no format 'htm'; did you mean html"):
        show.render(Selection([]), "htm")
    with pytest.raises(ConfigError, match="name a file: -o journal"):
        show.render(Selection([]), "xlsx")


def test_the_suffix_of_the_file_is_its_format(filled, tmp_path):
    run = CliRunner().invoke
    page = tmp_path / "journal.html"
    report = run(cli.app, ["journal", "show", "--where", "cv_auc>=0.9", "-o", str(page)])
    assert report.output == f"{page}: 3 runs\n"
    assert page.read_text().startswith("<!doctype html>")
    plain = run(cli.app, ["journal", "show", "--kind", "single", "--sort", "experiment:desc"])
    assert plain.output.index("kdb3v3") < plain.output.index("b7v3_001  ")
    assert run(cli.app, ["journal"]).output == run(cli.app, ["journal", "show"]).output


def test_a_failed_write_leaves_the_file_unchanged(tmp_path):
    file = tmp_path / "journal.xlsx"
    file.write_text("before")
    with pytest.raises(ValueError, match="experiment"):
        show.write(Selection([], columns=[]), "xlsx", file)
    assert file.read_text() == "before"


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(OutputError, match="it is a folder; name a file in it"):
        show.write(Selection([]), "csv", tmp_path)


@pytest.mark.parametrize(("size", "shown"), [("inf", "inf"), ("512", 512), ("0", 0), ("?", "?")])
def test_a_count_is_a_number_in_a_workbook(tmp_path, size, shown):
    assert written_cell(tmp_path, image_size=size).value == shown
