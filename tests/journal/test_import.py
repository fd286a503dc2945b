"""Importing tables into the journal, again after edits, and what people changed meanwhile."""

import openpyxl
import pytest
from journal_runs import frame
from mlflow import MlflowClient
from typer.testing import CliRunner

from ranzcr import cli, config
from ranzcr.errors import ConfigError, DataError, TrackingError
from ranzcr.journal import importing, notes
from ranzcr.journal.columns import SHOWN
from ranzcr.journal.sheets import mapping
from ranzcr.tracking import context, server

SHEET = (
    "experiment,backbone,image_size,cv_auc,auc_fold/0,auc_fold/1,lb_public,start_time,author,note,"
    "params.imported.Augs\n"
    "b7v3_001,tf_efficientnet_b7,1024,0.9688,0.97,0.96,96.7%,2021-03-17,amy,first,light\n"
    "kd_b3,tf_efficientnet_b3,1024,0.9710,,,,,,,\n"
)


@pytest.fixture
def sheet(tmp_path):
    """Writes the sheet, with words replaced; its path."""

    def write(*changes, text=SHEET, name="journal.csv"):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def run_of(journal, name="b7v3_001"):
    from ranzcr.journal import rows as record

    return journal.get_run(record.resolve(name))


def counts(file, **options):
    return importing.run(file, **options).summary()


def test_a_row_becomes_a_finished_run_like_any_other(journal, sheet):
    assert counts(sheet()) == "2 new, 0 changed, 0 same"
    run = run_of(journal)
    tags, params = run.data.tags, run.data.params
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "b7v3_001"
    assert run.info.start_time == run.info.end_time == 1615939200000
    assert (tags["kind"], tags["experiment"], tags["folds"]) == ("single", "b7v3_001", "2")
    assert (tags["author"], tags["mlflow.note.content"]) == ("amy", "first")
    assert tags["imported_from"] == "journal.csv"
    assert params == {
        "cfg.model.backbone": "tf_efficientnet_b7",
        "cfg.data.image_size": "1024",
        "imported.Augs": "light",
    }
    assert run.data.metrics == {
        **{"cv_auc": 0.9688, "auc_fold/0": 0.97, "auc_fold/1": 0.96, "lb_public": 0.967}
    }


def test_the_same_file_again_writes_nothing(journal, sheet):
    importing.run(sheet())
    before = journal.search_runs([run_of(journal).info.experiment_id])
    assert counts(sheet()) == "0 new, 0 changed, 2 same"
    after = journal.search_runs([run_of(journal).info.experiment_id])
    assert [run.to_dictionary() for run in after] == [run.to_dictionary() for run in before]


def test_a_dry_run_reports_and_writes_nothing(journal, sheet):
    plan = importing.run(sheet(), dry_run=True)
    report = importing.render(plan, dry_run=True)
    assert "new: row 2 b7v3_001\nnew: row 3 kd_b3\n" in report
    assert report.endswith("journal.csv: 2 new, 0 changed, 0 same (dry run: nothing was written)\n")
    assert importing.run(sheet(), dry_run=True).summary() == "2 new, 0 changed, 0 same"


def test_an_edited_score_and_comment_update_the_run(journal, sheet):
    importing.run(sheet())
    before = run_of(journal).info.run_id
    edited = sheet(("0.9688", "0.9690"), ("first", "second"))
    plan = importing.run(edited)
    assert plan.summary() == "0 new, 1 changed, 1 same"
    assert "changed: b7v3_001: cv_auc 0.9688 -> 0.969, note first -> second" in importing.render(
        plan
    )
    run = run_of(journal)
    assert run.info.run_id == before
    assert run.data.metrics["cv_auc"] == 0.969
    assert run.data.tags["mlflow.note.content"] == "second"
    assert counts(edited) == "0 new, 0 changed, 2 same"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("light", "heavy", {"params": {"imported.Augs": "heavy"}}),
        ("light", "", {"params": {"imported.Augs": None}}),
        ("96.7%", "-", {"metrics": {"lb_public": None}}),
        ("2021-03-17", "2021-03-18", {"start": 1616025600000}),
    ],
)
def test_what_mlflow_cannot_change_is_changed_in_a_new_run(journal, sheet, old, new, expected):
    importing.run(sheet())
    notes.decide("b7v3_001", "keep")
    importing.run(sheet((old, new)))
    run = run_of(journal)
    for name, value in expected.get("params", {}).items():
        assert run.data.params.get(name) == value
    for name, value in expected.get("metrics", {}).items():
        assert run.data.metrics.get(name) == value
    assert run.info.start_time == expected.get("start", 1615939200000)
    assert run.data.metrics["cv_auc"] == 0.9688
    assert run.data.tags["decision"] == "keep"
    assert counts(sheet((old, new))) == "0 new, 0 changed, 2 same"


def test_what_people_wrote_in_the_journal_stays(journal, sheet):
    importing.run(sheet())
    notes.set_lb("b7v3_001", public=0.968)
    notes.note("b7v3_001", "the 12th epoch adds nothing")
    importing.run(sheet(("0.9688", "0.9690")))
    run = run_of(journal)
    assert run.data.metrics["lb_public"] == 0.968
    assert "the 12th epoch" in run.data.tags["mlflow.note.content"]


def test_an_edited_comment_is_added_to_a_note_that_people_went_on_writing(journal, sheet):
    importing.run(sheet())
    notes.note("b7v3_001", "the 12th epoch adds nothing")
    importing.run(sheet(("first", "the best one")))
    first, added, last = run_of(journal).data.tags["mlflow.note.content"].split("\n\n")
    assert (first, last) == ("first", "the best one")
    assert added.endswith("adds nothing")


def test_a_cleared_tag_is_cleared(journal, sheet):
    importing.run(sheet())
    importing.run(sheet(("amy", "")))
    assert run_of(journal).data.tags["author"] == ""
    assert counts(sheet(("amy", ""))) == "0 new, 0 changed, 2 same"


def test_rows_of_one_name_stay_rows_of_their_own(journal, sheet):

    twice = sheet(("kd_b3", "b7v3_001"))
    plan = importing.run(twice)
    assert sorted(frame().cv_auc) == [0.9688, 0.971]
    assert "note: names of several rows, each a row of its own: b7v3_001 (2 times)" in (
        importing.render(plan)
    )
    assert counts(twice) == "0 new, 0 changed, 2 same"


def test_rows_are_found_by_their_id_where_there_is_one(journal, sheet):
    importing.run(sheet(text="row_id,experiment,cv_auc\n1,a,0.9\n2,b,0.8\n"))
    moved = sheet(text="row_id,experiment,cv_auc\n2,b (old),0.8\n3,c,0.7\n1,a,0.9\n")
    assert counts(moved) == "1 new, 1 changed, 1 same"
    assert run_of(journal, "b (old)").info.run_name == "b (old)"


def test_rows_that_are_gone_stay_with_a_note(journal, sheet):
    importing.run(sheet())
    plan = importing.run(sheet(text="experiment,cv_auc\nkd_b3,0.971\n"))
    assert any(
        note.startswith("1 rows imported earlier are not in the file any more and stay")
        for note in plan.notes
    )


def test_a_renamed_file_is_noticed_and_a_source_finds_its_rows(journal, sheet, tmp_path):
    importing.run(sheet())
    renamed = sheet(name="march.csv")
    plan = importing.run(renamed, dry_run=True)
    assert plan.summary() == "2 new, 0 changed, 0 same"
    assert "write `source: journal` into a file for --map" in plan.notes[-1]
    _, columns = importing.load(sheet())
    mapping.write(columns, tmp_path / "map.yaml")
    assert counts(renamed, map_file=tmp_path / "map.yaml") == "0 new, 0 changed, 2 same"


def test_totals_and_titles_between_rows_are_left_out_with_a_note(journal, sheet):
    text = "experiment,cv_auc,note\na,0.9,x\nSecond stage,,\nb,0.8,\n,,only words\nTotal,0.85,2\n"
    plan = importing.run(sheet(text=text))
    assert plan.summary() == "2 new, 0 changed, 0 same"
    assert plan.notes == [
        "row 3 'Second stage': not an experiment, left out",
        "row 5 'only words': not an experiment, left out",
        "row 6 'Total': not an experiment, left out",
    ]


def test_members_and_weights_of_ensembles(journal, sheet):

    importing.run(sheet(text="experiment,members,cv_auc\nmean,a + b,0.9\nx,a:0.6 b:0.4,0.91\n"))
    assert set(frame().kind) == {"ensemble"}
    assert run_of(journal, "mean").data.tags["members"] == "a,b"
    assert set(frame().members) == {"a b", "a:0.600 b:0.400"}
    tags = run_of(journal, "x").data.tags
    assert (tags["members"], tags["weights"]) == ("a,b", '{"a": 0.6, "b": 0.4}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("0.9710", "971.0"),
            r"row 3, column 'cv_auc': '971.0' is not a valid AUC \(expected 0 to",
        ),
        (("2021-03-17", "soon"), "row 2, column 'start_time': 'soon' is not a date; write 2021"),
        (("1024,0.96", "768x1024,0.96"), "row 2, column 'image_size': '768x1024' is not a number"),
        (("1024,0.96", "512.5,0.96"), "row 2, column 'image_size': '512.5' is not a whole number"),
        (("kd_b3", "-"), "row 3: no name of an experiment; name it, or empty the row"),
        (("experiment", "parent"), "no column is the experiment's name"),
    ],
)
def test_a_bad_cell_is_named_and_nothing_is_imported(sheet, change, message):

    with pytest.raises(DataError, match=message) as error:
        importing.run(sheet(change))
    assert str(error.value).startswith("journal.csv: ")
    assert "\n" not in str(error.value)
    assert frame().empty


def test_more_bad_cells_are_counted_and_placed(sheet):
    with pytest.raises(DataError, match="; and 1 more: row 3, column 'cv_auc'; nothing was"):
        importing.run(sheet(("0.9688", "9688"), ("0.9710", "9710")))


def test_an_id_that_is_there_twice_is_refused(sheet):
    with pytest.raises(DataError, match="row 3: the same id as row 2; make it unique, or skip its"):
        importing.run(sheet(text="row_id,experiment,cv_auc\n1,a,0.9\n1,b,0.8\n"))


def test_a_kind_is_checked(sheet):
    with pytest.raises(ConfigError, match="no kind 'singel' in the journal; did you mean single"):
        importing.run(sheet(), kind="singel")
    with pytest.raises(DataError, match="column 'kind': 'cnn' is not a kind; known: ensemble"):
        importing.run(sheet(text="experiment,kind\na,CNN\n"))


def test_what_is_too_long_for_mlflow_is_cut_with_a_note(journal, sheet):
    text = f"experiment,params.log,cv_auc\na,{'x' * 7000},0.9\n"
    plan = importing.run(sheet(text=text))
    assert plan.notes == ["row 2, column 'params.log': 7000 characters, cut to 6000"]
    assert counts(sheet(text=text)) == "0 new, 0 changed, 1 same"


def test_a_table_of_many_columns_is_imported(journal, sheet):
    names = [f"params.p{number}" for number in range(250)]
    text = f"experiment,cv_auc,{','.join(names)}\na,0.9,{','.join(names)}\n"
    importing.run(sheet(text=text))
    assert len(run_of(journal, "a").data.params) == 250
    assert counts(sheet(text=text)) == "0 new, 0 changed, 1 same"


def test_an_import_that_is_killed_leaves_no_half_row_and_goes_on(journal, sheet, monkeypatch):

    real, calls = MlflowClient.log_batch, []

    def killed_at_the_second(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            importing.run(sheet())
    assert list(frame().experiment) == ["b7v3_001"]
    assert counts(sheet()) == "1 new, 0 changed, 1 same"
    assert len(journal.search_runs([run_of(journal).info.experiment_id])) == 2


def test_a_replacement_that_is_killed_is_tidied_up(journal, sheet, monkeypatch):

    importing.run(sheet())
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "delete_run", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            importing.run(sheet(("light", "heavy")))
    assert len(frame()) == 3
    importing.run(sheet(("light", "heavy")))
    importing.run(sheet(("light", "heavy")))
    assert len(frame()) == 2
    assert run_of(journal).data.params["imported.Augs"] == "heavy"


def test_if_a_server_goes_away_the_error_says_how_far_it_got(journal, sheet, monkeypatch):
    import requests

    def gone(*_, **__):
        raise requests.ConnectionError("Connection refused")

    monkeypatch.setattr(MlflowClient, "log_batch", gone)
    monkeypatch.setattr(server, "_PATIENCE", 0)
    with pytest.raises(TrackingError, match="0 of 2 changes are written, import journal"):
        importing.run(sheet())


def test_what_work_has_measured_is_not_overwritten(journal, sheet):
    experiment = config.load("b7v3_001")
    with context.fold_run(experiment, dataset_digest="d" * 64, fold=0, labels=["A"]) as fold:
        pass
    with context.single_run_of(fold.run_id) as run:
        run.log_metrics({"cv_auc": 0.9})
    key = journal.get_run(run.run_id).data.tags["run_key"]
    text = f"run_key,kind,experiment,cv_auc,lb_public,decision\n{key},single,b7v3_001,0.99,0.8,ok\n"
    plan = importing.run(sheet(text=text))
    assert plan.summary() == "0 new, 1 changed, 0 same"
    assert "row 2 cv_auc 0.9 -> 0.99" in plan.notes[0]
    data = journal.get_run(run.run_id).data
    assert (data.metrics["cv_auc"], data.metrics["lb_public"]) == (0.9, 0.8)
    assert data.tags["decision"] == "ok"


def test_work_that_goes_on_in_an_imported_row_is_not_replaced(journal, sheet):
    experiment = config.load("b7v3_001")
    with context.fold_run(experiment, dataset_digest="d" * 64, fold=0, labels=["A"]) as fold:
        pass
    root = journal.get_run(fold.run_id).data.tags["mlflow.parentRunId"]
    journal.set_tag(root, "imported_from", "journal.csv")
    key = journal.get_run(root).data.tags["run_key"]
    text = f"run_key,kind,experiment,backbone\n{key},single,b7v3_001,resnet18\n"
    assert importing.run(sheet(text=text)).summary() == "0 new, 0 changed, 1 same"
    assert journal.get_run(root).info.lifecycle_stage == "active"


def test_the_printed_journal_is_refused_as_it_lacks_most(sheet):
    text = ",".join(column.name for column in SHOWN) + "\n" + "x," * (len(SHOWN) - 1) + "x\n"
    with pytest.raises(
        DataError, match="the journal has no columns run_id, changed, state, started"
    ):
        importing.run(sheet(text=text))


def test_neptunes_runs_are_imported(journal, sheet):
    text = (
        ",sys/creation_time,sys/description,sys/failed,sys/id,sys/name,sys/owner,sys/tags,"
        "parameters/backbone,parameters/img_size,metrics/cv_auc,metrics/kappa\n"
        "0,2021-03-10 10:11:12.131000+00:00,wide,False,RAN-2,r200d,amy,gem,resnet200d,512,.97,.8\n"
        "1,2021-03-09T10:11:12.131Z,,True,RAN-1,r50d,bob,,resnet50d,512,.96,\n"
    )
    importing.run(sheet(text=text, name="runs.csv"))
    run = run_of(journal, "r200d")
    assert run.info.start_time == 1615371072131
    assert run.data.metrics == {"cv_auc": 0.97, "kappa": 0.8}
    assert run.data.params["cfg.model.backbone"] == "resnet200d"
    assert run.data.params["imported.sys/tags"] == "gem"
    assert run.data.tags["author"] == "amy"
    assert (run.info.status, run_of(journal, "r50d").info.status) == ("FINISHED", "FAILED")
    assert counts(sheet(text=text, name="runs.csv")) == "0 new, 0 changed, 2 same"


def test_numbers_and_dates_of_a_workbook_are_what_its_text_would_be(journal, tmp_path, sheet):
    from datetime import datetime

    book = openpyxl.Workbook()
    rows = [["experiment", "image_size", "cv_auc", "start_time", "params.epochs", "params.good"]]
    rows.append(["a", 512, 0.97, datetime(2021, 3, 17), 12.0, True])
    for row in rows:
        book.active.append(row)
    book.active["C2"].number_format = "0.00%"
    book.save(tmp_path / "journal.xlsx")
    assert counts(tmp_path / "journal.xlsx") == "1 new, 0 changed, 0 same"
    header = ",".join(rows[0])
    text = f"{header}\na,512,97%,2021-03-17,12,true\n"
    assert counts(sheet(text=text)) == "0 new, 0 changed, 1 same"


def test_an_imported_row_has_no_artifacts_and_can_be_compared(journal, sheet):
    from ranzcr.journal import diff

    importing.run(sheet())
    assert journal.list_artifacts(run_of(journal).info.run_id) == []
    shown = diff.render(diff.compare("b7v3_001", "kd_b3"))
    assert "0.9688" in shown
    assert "tf_efficientnet_b3" in shown


def test_the_command_line_writes_a_mapping_and_imports_with_it(journal, sheet, tmp_path):
    shell = CliRunner()
    file, map_file = str(sheet(text="Model,cv_auc\na,0.9\n")), tmp_path / "map.yaml"
    refused = shell.invoke(cli.app, ["journal", "import", file])
    assert "the journal has no columns Model; write a mapping with --write-map FILE" in str(
        refused.exception
    )
    written = shell.invoke(cli.app, ["journal", "import", file, "--write-map", str(map_file)])
    assert written.output == f"{map_file}: edit it, then pass it with --map; nothing was imported\n"
    map_file.write_text(map_file.read_text().replace("Model: ''", "Model: experiment"))
    done = shell.invoke(cli.app, ["journal", "import", file, "--map", str(map_file)])
    assert done.output.endswith("journal.csv: 1 new, 0 changed, 0 same\n")


@pytest.mark.parametrize(
    "lines",
    [
        ["name,fold,score", "b3/model,0,0.93", "b5/model,0,0.94", "b6/model,0,0.95"],
        ["name,score,encoder", "v1/a,0.92,b3", "v1/b,0.93,b3", "v1/c,0.94,b5"],
    ],
)
def test_the_first_line_is_the_header_and_each_other_line_a_row(journal, sheet, tmp_path, lines):
    mapped = sheet(name="map.yaml", text="columns: {name: experiment, score: cv_auc}\n")
    plan = importing.run(sheet(text="\n".join(lines) + "\n"), map_file=mapped)
    assert [(row.number, row.name) for row in plan.new] == [
        (number, line.split(",")[0]) for number, line in enumerate(lines[1:], 2)
    ]


def test_rows_of_one_name_may_be_sorted_in_another_way(journal, sheet):
    lines = ["b7,0.95,0.1\n", "b7,0.97,0.2\n", "b6,0.96,0.3\n"]
    header = "experiment,cv_auc,params.cfg.lr\n"
    importing.run(sheet(text=header + "".join(lines)))
    runs = journal.search_runs([run_of(journal, "b6").info.experiment_id])
    best = next(run.info.run_id for run in runs if run.data.metrics["cv_auc"] == 0.97)
    notes.decide(best, "keep")
    assert counts(sheet(text=header + "".join(lines[1:] + lines[:1]))) == "0 new, 0 changed, 3 same"
    edited = sheet(text=header + lines[1] + lines[0].replace("0.95", "0.951"))
    assert counts(edited) == "0 new, 1 changed, 1 same"
    kept = journal.get_run(best).data
    assert (kept.metrics["cv_auc"], kept.tags["decision"]) == (0.97, "keep")


# What the importer wrote before columns, cells and mappings were simplified.
OLD_TAGS = {
    "kind": "single",
    "experiment": "b7v3_001",
    "author": "amy",
    "folds": "2",
    "mlflow.note.content": "first",
    "imported_from": "journal.csv",
    "imported_source": "journal",
    "imported_by": "bob",
    "run_key": "3cfeccca1c36b122c97899d78739e6b7",
    "imported_cells": "c4d33166cd801d65ed692f28c633402555ea65b386185f30c97d8727ccd98985"
    "b8479a73508d5bbbee6207f88cd2ff52681b2af2",
}
OLD_PARAMS = {
    "cfg.model.backbone": "tf_efficientnet_b7",
    "cfg.data.image_size": "1024",
    "imported.Augs": "light",
}


def test_a_row_that_was_imported_before_is_found_again(journal, sheet):
    place = journal.get_experiment_by_name("ranzcr-clip").experiment_id
    run_id = journal.create_run(place, 1615939200000, OLD_TAGS, "b7v3_001").info.run_id
    scores = {"cv_auc": 0.9688, "auc_fold/0": 0.97, "auc_fold/1": 0.96, "lb_public": 0.967}
    for name, score in scores.items():
        journal.log_metric(run_id, name, score)
    for name, value in OLD_PARAMS.items():
        journal.log_param(run_id, name, value)
    journal.set_terminated(run_id, end_time=1615939200000)
    first_row = SHEET.splitlines()[:2]
    assert counts(sheet(text="\n".join(first_row))) == "0 new, 0 changed, 1 same"
    notes.decide("b7v3_001", "keep")
    assert counts(sheet(text="\n".join(first_row))) == "0 new, 0 changed, 1 same"
    assert counts(sheet(("first", "second"), text=SHEET)) == "1 new, 1 changed, 0 same"
