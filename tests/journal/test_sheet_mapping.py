"""Columns and what they are in the journal: known by their names, or set in YAML."""

import pytest

from ranzcr.errors import ConfigError, DataError
from ranzcr.journal import importing
from ranzcr.journal.sheets import mapping
from ranzcr.journal.sheets.tables import SheetTable


def table(columns, *rows, source="journal"):
    named = {
        number: dict(zip(columns, row, strict=True)) for number, row in enumerate(rows, start=2)
    }
    return SheetTable("journal.csv", source, list(columns), named)


def guessed(columns, *rows):
    return mapping.guess(table(columns, *rows), None).columns


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        file = tmp_path / "map.yaml"
        file.write_text(text)
        return file

    return write


def test_names_and_headings_of_the_journal_are_known():
    columns = ["experiment", "cv_auc", "LB public", "auc/CVC - Normal", "auc_fold/0", "params.lr"]
    assert list(guessed(columns).values()) == [
        *["experiment", "cv_auc", "lb_public", "auc/CVC - Normal", "auc_fold/0", "params.lr"]
    ]


@pytest.mark.parametrize(
    "name", ["Model", "CV", "Experiment", "cv auc", "tags.mlflow.user", "fold"]
)
def test_other_names_are_not_guessed(name):
    assert guessed(["experiment", name]) == {"experiment": "experiment", name: ""}


def test_unknown_columns_are_refused_in_one_line_with_the_way_out(tmp_path):
    (tmp_path / "journal.csv").write_text("Model,CV,note\na,0.9,x\n")
    message = (
        "journal.csv: the journal has no columns Model, CV; write a mapping with --write-map FILE, "
        "fill it in, and pass it with --map FILE"
    )
    with pytest.raises(DataError, match=message):
        importing.run(tmp_path / "journal.csv")


def test_neptunes_runs_are_known():
    columns = ["sys/creation_time", "sys/id", "sys/name", "sys/owner", "sys/tags", "sys/failed"]
    more = ["parameters/net/backbone", "parameters/lr", "metrics/kappa", "logs/output", "sys/size"]
    row = ["2021-03-01", "RAN-1", "a", "amy", "x,y", "False", "b7", "0.1", "0.7", "epoch 1", "9"]
    assert list(guessed([*columns, *more], row).values()) == [
        *["start_time", "row_id", "experiment", "author", "params.imported.sys/tags"],
        "params.imported.sys/failed",
        *["backbone", "params.imported.parameters/lr", "metrics.kappa"],
        *["params.imported.logs/output", "params.imported.sys/size"],
    ]


def test_older_exports_of_neptune_are_known():
    columns = ["id", "name", "created", "finished", "owner", "notes", "running_time", "size"]
    row = ["RAN-1", "b7", "2021-02-20", "2021-02-21", "amy", "x", "18000.0", "1048576.0"]
    more = {"channel_cv_auc": "0.95", "parameter_img_size": "640", "parameter_lr": "0.1"}
    assert list(guessed([*columns, *more], [*row, *more.values()]).values()) == [
        *["row_id", "experiment", "start_time", "end_time", "author", "note"],
        *["params.imported.running_time", "params.imported.size", "metrics.cv_auc", "image_size"],
        "params.imported.parameter_lr",
    ]


def test_the_kind_is_known_from_members_or_the_sheet():
    assert mapping.guess(table(["experiment", "cv_auc"]), None).kind == "single"
    assert mapping.guess(table(["experiment", "members"]), None).kind == "ensemble"
    assert mapping.guess(table(["experiment"], source="x - Ensembles"), None).kind == "ensemble"
    assert mapping.guess(table(["experiment", "members"]), "single").kind == "single"


def test_a_written_mapping_is_read_back(tmp_path):
    known = table(["experiment", "CV, %", "on", "Why?"], ["a", "97", "x", "y"])
    guess = mapping.guess(known, None)
    mapping.write(guess, tmp_path / "map.yaml")
    assert mapping.read(tmp_path / "map.yaml") == guess


def test_yaml_decides_and_other_columns_are_kept(yaml_file):
    file = yaml_file("kind: ensemble\nsource: ours\ncolumns: {A: experiment, B: skip, C: ''}\n")
    complete = mapping.complete(mapping.read(file), table(["A", "B", "C", "CV"]), None, "map.yaml")
    assert (complete.kind, complete.source) == ("ensemble", "ours")
    assert {name: column.source for name, column in complete.targets("").items()} == {
        "A": "tags.experiment",
        "C": "params.imported.C",
        "CV": "params.imported.CV",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {CV: cv_acu}", r"map.yaml: columns: CV: .* no 'cv_acu'; did you mean cv_auc"),
        ("columns: {A: cv_auc, B: cv_auc}", "'A' and 'B' are both cv_auc; skip one"),
        ("columns: {A: metrics.cv_auc, B: cv_auc}", "'A' and 'B' are both cv_auc"),
        (
            "columns: {'A?': '', 'A!': ''}",
            "'A!' are both params.imported.A_; skip one, or",
        ),
        ("columns: {A: gpu_hours %}", "only an AUC can be in percent; write 'gpu_hours'"),
        ("columns: {A: tags.mlflow.user}", "the journal has no 'tags.mlflow.user'"),
        ("columns: {Modle: experiment}", "journal.csv has no 'Modle'; did you mean Model"),
        ("columns: {}\nkind: singel", "kind: .*singel.*; did you mean single"),
        ("kind: single", "map.yaml: columns"),
        ("columns: {}\nsheat: x", "sheat.*did you mean sheet"),
        ("columns: {", "not YAML"),
    ],
)
def test_a_wrong_mapping_is_refused_in_one_line(yaml_file, text, message):
    file = yaml_file(text)
    with pytest.raises(ConfigError, match=message) as error:
        mapping.complete(mapping.read(file), table(["Model", "CV"]), None, "map.yaml")
    assert "\n" not in str(error.value)
