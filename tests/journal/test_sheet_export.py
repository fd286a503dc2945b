"""The journal as a spreadsheet, and back."""

import csv
import shutil
import tempfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_runs import frame
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.errors import ConfigError
from ranzcr.journal import exporting, importing, notes, remote, show
from ranzcr.journal import rows as record
from ranzcr.journal.columns import KINDS
from ranzcr.journal.sheets import rows
from ranzcr.journal.sheets.stored import content_of, key_of
from ranzcr.tracking import context, server
from ranzcr.tracking.delivery import safe_name

# What PostgreSQL and XML refuse is no text of a journal.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_TRICKY = st.sampled_from(
    [
        *["=1+1", "'=1", "-", "n/a", "007", "1e5", "0,5", "TRUE", " a ", "a\nb", "a\r\nb", "\r"],
        *["_x000D_", '"', "a;b,c\td", "\x07", "Total", "2021-03-17", "512x512", "\ufeff", "#N/A"],
    ]
)
_VALUES = st.one_of(_TRICKY, _TEXT)
_NAMES = st.one_of(
    st.sampled_from(["cfg.model.head", "cfg.data.image_size", "a  b", "imported.Why?", "x/y z"]),
    _TEXT,
).map(safe_name)
_TAGS = st.sampled_from(
    ["parent", "teachers", "members", "weights", "folds", "decision", "author", "stage", "other"]
) | st.just("mlflow.note.content")
_SCORES = st.sampled_from(["cv_auc", "lb_public", "gpu_hours", "auc/CVC - Normal", "val loss"])
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def runs(draw):
    """Runs as MLflow gives them: of any kind, with any content."""
    result = []
    for number in range(draw(st.integers(1, 4))):
        tags = {
            "kind": draw(st.sampled_from(KINDS)),
            "experiment": draw(_VALUES.filter(bool)),
            "run_key": f"{number:032x}",
            **draw(st.dictionaries(_TAGS, _VALUES, max_size=5)),
        }
        params = draw(st.dictionaries(_NAMES, _VALUES, max_size=4))
        scores = draw(st.dictionaries(_SCORES, _NUMBERS, max_size=4))
        start = draw(st.integers(1_000_000_000_000, 2_000_000_000_000))
        status = draw(st.sampled_from(["FINISHED", "FAILED", "KILLED"]))
        run_id = f"{number + 16:032x}"
        info = RunInfo(run_id, "1", "", status, start, start + number, "active", run_name="x")
        data = RunData(
            [Metric(name, value, 0, 0) for name, value in scores.items()],
            [Param(name, value) for name, value in params.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )
        result.append(Run(info, data))
    return result


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
@settings(deadline=None, max_examples=40)
@given(mlflow_runs=runs())
def test_a_table_reads_back_as_the_runs_it_was_written_from(suffix, mlflow_runs):
    runs = list(map(remote.of_mlflow, mlflow_runs))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"journal{suffix}"
        show.write(exporting.select(runs), suffix.removeprefix("."), file)
        table, mapping = importing.load(file)
        again = rows.read(table, mapping)
    expected = {key_of(run): content_of(run) for run in runs}
    assert {row.key: row.content for row in again} == expected


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, migrated):
    """Goes to another, empty journal."""

    def go(name):
        (tmp_path / name).mkdir()
        shutil.copy(migrated, tmp_path / name / "mlflow.db")
        monkeypatch.setenv("RANZCR_HOME", str(tmp_path / name))
        return server.connect()

    return go


@pytest.fixture
def filled(journal, tmp_path):
    """Rows that ranzcr made, one that failed, and imported ones."""
    with context.ensemble_run(
        {"b7v3_001": 1 / 3, "kd_b3": 2 / 3}, dataset_digest="d" * 64, method="mean", digest="x"
    ) as run:
        run.log_metrics({"cv_auc": 0.1 + 0.2, "auc/CVC - Normal": 0.9})
    with (
        pytest.raises(ZeroDivisionError),
        context.pseudo_run(
            teachers=["b7v3_001"], dataset_digest="d" * 64, digest="y", counts={"train": 3}
        ),
    ):
        raise ZeroDivisionError
    header = "experiment,cv_auc,start_time,params.imported.Augs\n"
    rows = "b7v3_001,0.96,2021-03-01,=1+1\nkd_b3,0.97,2021-03-02,007\n"
    (tmp_path / "journal.csv").write_text(header + rows)
    importing.run(tmp_path / "journal.csv")
    notes.note("kd_b3", "-")
    notes.decide("kd_b3", "n/a")
    return journal


def shown():
    return frame(sort="started").drop(columns=["run_id", "link"]).to_csv()


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_an_export_makes_the_same_journal_elsewhere(filled, elsewhere, tmp_path, name):
    before = shown()
    assert exporting.run(tmp_path / name) == 4
    assert importing.run(tmp_path / name).summary() == "0 new, 0 changed, 4 same"
    other = elsewhere("other")
    assert importing.run(tmp_path / name).summary() == "4 new, 0 changed, 0 same"
    assert shown() == before
    assert importing.run(tmp_path / name).summary() == "0 new, 0 changed, 4 same"
    assert importing.run(tmp_path / "journal.csv").summary() == "0 new, 0 changed, 2 same"
    description = other.get_run(record.resolve("kd_b3")).data.tags["mlflow.note.content"]
    assert description.endswith(": -")


@settings(
    deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_journal_is_the_same_after_export_and_import(elsewhere, tmp_path, data):
    home = tempfile.mkdtemp(dir=tmp_path)
    client = elsewhere(f"{home}/a")
    place = server.experiment_id(client)
    for run in data.draw(runs()):
        created = client.create_run(place, run.info.start_time, run.data.tags)
        metrics = [Metric(name, value, 0, 0) for name, value in run.data.metrics.items()]
        params = [Param(name, value) for name, value in run.data.params.items()]
        client.log_batch(created.info.run_id, metrics, params)
        client.set_terminated(created.info.run_id, run.info.status, run.info.end_time)
    before = shown()
    file = Path(home) / data.draw(st.sampled_from(["a.csv", "a.xlsx"]))
    exporting.run(file)
    elsewhere(f"{home}/b")
    importing.run(file)
    assert shown() == before


def test_a_kind_alone_can_be_exported(filled, tmp_path):
    assert exporting.run(tmp_path / "a.csv", "ensemble") == 1
    with pytest.raises(ConfigError, match="no kind 'blend' in the journal; known: ens"):
        exporting.run(tmp_path / "a.csv", "blend")


def test_a_workbook_has_numbers_as_numbers_and_text_as_text(filled, tmp_path):
    exporting.run(tmp_path / "a.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx")["journal"]
    header, *lines = sheet.iter_rows()
    cells = {cell.value: [line[cell.column - 1] for line in lines] for cell in header}
    assert 0.1 + 0.2 in [cell.value for cell in cells["cv_auc"]]
    types = {cell.value: cell.data_type for cell in cells["params.imported.Augs"]}
    assert (types["=1+1"], types["007"]) == ("s", "s")
    assert sheet.freeze_panes == "D2"


def test_csv_has_no_cell_that_a_spreadsheet_would_run(filled, tmp_path):
    exporting.run(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as stream:
        values = [row["params.imported.Augs"] for row in csv.DictReader(stream)]
    assert "'=1+1" in values


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.json: an export is \.csv or \.xlsx; change the"):
        exporting.run(tmp_path / "a.json")


def test_an_empty_journal_is_an_empty_table(journal, tmp_path):
    shell = CliRunner()
    file = tmp_path / "a.csv"
    assert shell.invoke(cli.app, ["journal", "export", str(file)]).output == f"{file}: 0 rows\n"
    assert file.read_text().splitlines() == ["run_key,kind,experiment"]
    assert importing.run(file).summary() == "0 new, 0 changed, 0 same"
