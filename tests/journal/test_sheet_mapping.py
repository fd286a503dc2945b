"""What columns are: guessed from headers, or told by YAML."""

import pytest

from ranzcr.errors import ConfigError
from ranzcr.journal.sheets import mapping
from ranzcr.journal.sheets.header import Table


def table(columns, *rows, source="journal"):
    named = {
        number: dict(zip(columns, row, strict=True)) for number, row in enumerate(rows, start=2)
    }
    return Table("journal.csv", source, list(columns), named, [])


def guessed(columns, *rows):
    return dict(mapping.guess(table(columns, *rows)).targets)


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        file = tmp_path / "map.yaml"
        file.write_text(text)
        return file

    return write


def test_a_lab_journal_is_understood():
    columns = ["Model name", "Encoder", "Img size", "fold 0", "Fold_1", "CV", "Public LB"]
    assert list(guessed([*columns, "Private LB", "Comments"]).values()) == [
        *["experiment", "backbone", "image_size", "auc_fold/0", "auc_fold/1", "cv_auc"],
        *["lb_public", "lb_private", "note"],
    ]


def test_model_is_the_name_unless_another_column_is():
    assert guessed(["Model", "CV"])["Model"] == "experiment"
    assert guessed(["Experiment", "Model", "CV"])["Model"] == "backbone"
    assert guessed(["Model", "Backbone", "CV"])["Model"] == "experiment"


def test_the_first_of_two_columns_wins_and_the_other_is_kept():
    found = guessed(["Model", "CV", "CV (old)"])
    assert found["CV"] == "cv_auc"
    assert found["CV (old)"] == "params.imported.CV (old)"


def test_a_typo_is_understood_and_a_short_word_is_not_stretched():
    assert guessed(["Model", "Bacbone"])["Bacbone"] == "backbone"
    assert guessed(["Model", "Fold"])["Fold"] == "params.imported.Fold"


def test_percent_in_a_header_is_the_unit():
    assert guessed(["Model", "CV, %"])["CV, %"] == "cv_auc %"


def test_labels_of_the_competition_are_their_aucs():
    assert guessed(["Model", "CVC - Normal"])["CVC - Normal"] == "auc/CVC - Normal"


def test_an_id_must_be_one():
    assert guessed(["id", "Model"], ["1", "a"], ["2", "b"])["id"] == "row_id"
    assert guessed(["id", "Model"], ["1", "a"], ["1", "b"])["id"] == "params.imported.id"
    assert guessed(["id", "CV"], ["a", "0.9"])["id"] == "experiment"


def test_a_type_that_is_no_kind_is_kept():
    assert guessed(["Model", "Type"], ["a", "single"])["Type"] == "kind"
    assert guessed(["Model", "Type"], ["a", "CNN"])["Type"] == "params.imported.Type"


def test_neptunes_runs_are_understood():
    columns = ["column A", "sys/creation_time", "sys/id", "sys/name", "sys/owner", "sys/tags"]
    more = ["parameters/backbone", "metrics/kappa", "logs/output", "sys/description"]
    row = ["0", "2021-03-01", "RAN-1", "a", "amy", "x,y", "b7", "0.7", "epoch 1", "wide"]
    assert list(guessed([*columns, *more], row).values()) == [
        *["skip", "start_time", "row_id", "experiment", "author", "params.imported.sys/tags"],
        *["backbone", "metrics.kappa", "params.imported.logs/output", "note"],
    ]


def test_mlflows_own_table_is_understood():
    columns = ["run_id", "experiment_id", "status", "tags.mlflow.runName", "metrics.auc"]
    found = guessed([*columns, "params.lr"], ["a" * 32, "1", "FINISHED", "first", "0.9", "1e-3"])
    assert list(found.values()) == [
        *["run_key", "params.imported.experiment_id", "status", "experiment"],
        *["metrics.auc", "params.lr"],
    ]


def test_names_that_mlflow_cannot_tell_apart_are_kept_apart():
    found = guessed(["Model", "Why?", "Why!"])
    assert found["Why!"] == "params.imported.Why! 2"


def test_the_kind_is_guessed_from_members_or_the_sheet():
    assert mapping.guess(table(["Model", "CV"])).kind == "single"
    assert mapping.guess(table(["Model", "Members"])).kind == "ensemble"
    assert mapping.guess(table(["Model", "CV"], source="x - Ensembles")).kind == "ensemble"
    assert mapping.guess(table(["Model", "Members"]), "single").kind == "single"


def test_a_written_mapping_is_read_back(tmp_path):
    found = table(["Model", "CV, %", "on", "Why?"], ["a", "97", "x", "y"])
    made = mapping.guess(found)
    mapping.write(made, tmp_path / "map.yaml")
    again = mapping.complete(mapping.read(tmp_path / "map.yaml"), found)
    assert (again.source, again.kind, again.targets) == (made.source, made.kind, made.targets)


def test_yaml_decides_and_other_columns_are_kept(yaml_file):
    file = yaml_file("kind: ensemble\nsource: ours\ncolumns: {A: experiment, B: skip}\n")
    made = mapping.complete(mapping.read(file), table(["A", "B", "CV"]))
    assert dict(made.targets) == {"A": "experiment", "B": "skip", "CV": "params.imported.CV"}
    assert (made.kind, made.source) == ("ensemble", "ours")
    assert list(made.columns()) == ["A", "CV"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {CV: cv_acu}", r"map.yaml: columns: CV: .* no 'cv_acu'; did you mean cv_auc"),
        ("columns: {A: cv_auc, B: cv_auc}", "'A' and 'B' are both cv_auc; skip one"),
        ("columns: {A: metrics.cv_auc, B: cv_auc}", "'A' and 'B' are both cv_auc"),
        ("columns: {A: gpu_hours %}", "only an AUC can be in percent; write 'gpu_hours'"),
        ("columns: {A: tags.mlflow.user}", "the journal has no 'tags.mlflow.user'"),
        ("columns: {Modle: experiment}", "journal.csv has no 'Modle'; did you mean Model"),
        ("columns: {}\nkind: singel", "kind: no 'singel'; did you mean single"),
        ("column: {}", "expected `columns:` with a line"),
        ("columns: {}\nsheet: x", "no key 'sheet'; known: columns, kind, source"),
        ("columns: {", "not YAML"),
    ],
)
def test_a_wrong_mapping_is_told_in_one_line(yaml_file, text, message):
    file = yaml_file(text)
    with pytest.raises(ConfigError, match=message) as told:
        mapping.complete(mapping.read(file), table(["Model", "CV"]))
    assert "\n" not in str(told.value)


def test_a_missing_mapping_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="no such file; write one with --write-map"):
        mapping.read(tmp_path / "map.yaml")


def test_the_mapping_is_shown_with_an_example():
    found = table(["Model", "CV"], [None, None], ["b7v3_001", "0.97"])
    shown = mapping.render(mapping.guess(found), found)
    assert "columns of journal.csv, guessed; rows are of kind single" in shown
    assert [line.split() for line in shown.splitlines()[-2:]] == [
        ["Model", "b7v3_001", "experiment"],
        ["CV", "0.97", "cv_auc"],
    ]
