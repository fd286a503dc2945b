"""Importing tables into the journal, again after edits, and what people changed meanwhile."""

import openpyxl
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from ranzcr import cli, config
from ranzcr.errors import ConfigError, DataError, TrackingError
from ranzcr.journal import notes
from ranzcr.journal.columns import SHOWN
from ranzcr.journal.sheets import importing
from ranzcr.tracking import context, server

SHEET = (
    "Model;Backbone;Size;CV;Fold 0;Fold 1;LB public;Date;Author;Comment;Augs\n"
    "b7v3_001;tf_efficientnet_b7;1024;0,9688;0,97;0,96;96,7%;17.03.2021;amy;first;light\n"
    "kd_b3;tf_efficientnet_b3;1024;0.9710;;;;;;;\n"
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
    return importing.run(file, **options).plan.summary()


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


def test_a_dry_run_tells_and_writes_nothing(journal, sheet):
    outcome = importing.run(sheet(), dry_run=True)
    told = importing.render(outcome, dry_run=True)
    assert "new: row 2 b7v3_001\nnew: row 3 kd_b3\n" in told
    assert told.endswith("journal.csv: 2 new, 0 changed, 0 same (dry run: nothing was written)\n")
    assert importing.run(sheet(), dry_run=True).plan.summary() == "2 new, 0 changed, 0 same"


def test_an_edited_score_and_comment_update_the_run(journal, sheet):
    importing.run(sheet())
    before = run_of(journal).info.run_id
    edited = sheet(("0,9688", "0,9690"), ("first", "second"))
    outcome = importing.run(edited)
    assert outcome.plan.summary() == "0 new, 1 changed, 1 same"
    assert "changed: b7v3_001: cv_auc 0.9688 -> 0.969, note first -> second" in importing.render(
        outcome
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
        ("96,7%", "-", {"metrics": {"lb_public": None}}),
        ("17.03.2021", "18.03.2021", {"start": 1616025600000}),
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
    importing.run(sheet(("0,9688", "0,9690")))
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
    from ranzcr.journal import rows as record

    twice = sheet(("kd_b3", "b7v3_001"))
    outcome = importing.run(twice)
    assert sorted(record.rows().cv_auc) == [0.9688, 0.971]
    assert "note: names of several rows, each a row of its own: b7v3_001 (2 times)" in (
        importing.render(outcome)
    )
    assert counts(twice) == "0 new, 0 changed, 2 same"


def test_rows_are_found_by_their_id_where_there_is_one(journal, sheet):
    importing.run(sheet(text="id,Model,CV\n1,a,0.9\n2,b,0.8\n"))
    moved = sheet(text="id,Model,CV\n2,b (old),0.8\n3,c,0.7\n1,a,0.9\n")
    assert counts(moved) == "1 new, 1 changed, 1 same"
    assert run_of(journal, "b (old)").info.run_name == "b (old)"


def test_rows_that_are_gone_stay_and_are_told(journal, sheet):
    importing.run(sheet())
    outcome = importing.run(sheet(text="Model,CV\nkd_b3,0.971\n"))
    assert any(
        note.startswith("1 rows imported earlier are not in the file any more and stay")
        for note in outcome.plan.notes
    )


def test_a_renamed_file_is_noticed_and_a_source_finds_its_rows(journal, sheet, tmp_path):
    importing.run(sheet())
    renamed = sheet(name="march.csv")
    told = importing.run(renamed, dry_run=True).plan
    assert told.summary() == "2 new, 0 changed, 0 same"
    assert "write `source: journal` into a file for --map" in told.notes[-1]
    _, made = importing.load(sheet())
    importing.mapping.write(made, tmp_path / "map.yaml")
    assert counts(renamed, map_file=tmp_path / "map.yaml") == "0 new, 0 changed, 2 same"


def test_totals_and_titles_between_rows_are_left_out_and_told(journal, sheet):
    text = "Model,CV,Comment\na,0.9,x\nSecond stage,,\nb,0.8,\n,,only words\nTotal,,2\n"
    plan = importing.run(sheet(text=text)).plan
    assert plan.summary() == "2 new, 0 changed, 0 same"
    assert plan.notes == [
        "row 6 'Total': below the table, left out",
        "row 3 'Second stage': no experiment, left out",
        "row 5 'only words': no experiment, left out",
    ]


def test_members_and_weights_of_ensembles(journal, sheet):
    from ranzcr.journal import rows as record

    text = (
        "Ensemble,Members,CV\nmean,a + b,0.9\n"
        'x,"a:0.6 b:0.4",0.91\ny,"0,6*a + 0,4*b",0.92\nz,"a (0.6), b (0.4)",0.93\n'
    )
    importing.run(sheet(text=text))
    assert set(record.rows().kind) == {"ensemble"}
    assert run_of(journal, "mean").data.tags["members"] == "a,b"
    assert set(record.rows().members) == {"a b", "a:0.600 b:0.400"}
    for name in "xyz":
        tags = run_of(journal, name).data.tags
        assert (tags["members"], tags["weights"]) == ("a,b", '{"a": 0.6, "b": 0.4}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.9710", "971.0"), "row 3, column 'CV': '971.0' is no AUC from 0 to 1; write"),
        (("17.03.2021", "soon"), "row 2, column 'Date': 'soon' is no date"),
        (("1024;0,9688", "1024x768;0,9688"), "row 2, column 'Size': '1024x768' is no size of a"),
        (("kd_b3", "-"), "row 3: scores, but no name of an experiment; name it"),
        (("Model", "What"), "no column is the experiment's name"),
    ],
)
def test_a_bad_cell_is_named_and_nothing_is_imported(sheet, change, message):
    from ranzcr.journal import rows as record

    with pytest.raises(DataError, match=message) as told:
        importing.run(sheet(change))
    assert str(told.value).startswith("journal.csv: ")
    assert "\n" not in str(told.value)
    assert record.rows().empty


def test_more_bad_cells_are_counted_and_placed(sheet):
    with pytest.raises(DataError, match="; and 1 more: row 3, column 'CV'; nothing was imported"):
        importing.run(sheet(("0,9688", "9688"), ("0.9710", "9710")))


def test_an_id_that_is_there_twice_is_refused(sheet, tmp_path):
    (tmp_path / "map.yaml").write_text("columns: {id: row_id, Model: experiment}")
    text = "id,Model\n1,a\n1,b\n"
    with pytest.raises(DataError, match="row 3: the same id as row 2; make it unique"):
        importing.run(sheet(text=text), map_file=tmp_path / "map.yaml")


def test_a_kind_is_checked(sheet):
    with pytest.raises(ConfigError, match="--kind singel: did you mean single"):
        importing.run(sheet(), kind="singel")
    mapped = sheet(name="map.yaml", text="columns: {Model: experiment, Type: kind}")
    with pytest.raises(DataError, match="column 'Type': 'cnn' is no kind; known: ensemble"):
        importing.run(sheet(text="Model,Type\na,CNN\n"), map_file=mapped)


def test_what_is_too_long_for_mlflow_is_cut_and_told(journal, sheet):
    text = f"Model,Log,CV\na,{'x' * 7000},0.9\n"
    plan = importing.run(sheet(text=text)).plan
    assert plan.notes == ["row 2, column 'Log': 7000 characters, cut to 6000"]
    assert counts(sheet(text=text)) == "0 new, 0 changed, 1 same"


def test_a_table_of_many_columns_is_imported(journal, sheet):
    names = [f"p{number}" for number in range(250)]
    text = f"Model,CV,{','.join(names)}\na,0.9,{','.join(names)}\n"
    importing.run(sheet(text=text))
    assert len(run_of(journal, "a").data.params) == 250
    assert counts(sheet(text=text)) == "0 new, 0 changed, 1 same"


def test_an_import_that_is_killed_leaves_no_half_row_and_goes_on(journal, sheet, monkeypatch):
    from ranzcr.journal import rows as record

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
    assert list(record.rows().experiment) == ["b7v3_001"]
    assert counts(sheet()) == "1 new, 0 changed, 1 same"
    assert len(journal.search_runs([run_of(journal).info.experiment_id])) == 2


def test_a_replacement_that_is_killed_is_tidied_up(journal, sheet, monkeypatch):
    from ranzcr.journal import rows as record

    importing.run(sheet())
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "delete_run", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            importing.run(sheet(("light", "heavy")))
    assert len(record.rows()) == 3
    importing.run(sheet(("light", "heavy")))
    importing.run(sheet(("light", "heavy")))
    assert len(record.rows()) == 2
    assert run_of(journal).data.params["imported.Augs"] == "heavy"


def test_a_server_that_goes_away_is_told_with_how_far_it_came(journal, sheet, monkeypatch):
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
    plan = importing.run(sheet(text=text)).plan
    assert plan.summary() == "0 new, 1 changed, 0 same"
    assert "row 2 cv_auc 0.99 (journal: 0.9)" in plan.notes[0]
    found = journal.get_run(run.run_id).data
    assert (found.metrics["cv_auc"], found.metrics["lb_public"]) == (0.9, 0.8)
    assert found.tags["decision"] == "ok"


def test_work_that_goes_on_in_an_imported_row_is_not_replaced(journal, sheet):
    experiment = config.load("b7v3_001")
    with context.fold_run(experiment, dataset_digest="d" * 64, fold=0, labels=["A"]) as fold:
        pass
    root = journal.get_run(fold.run_id).data.tags["mlflow.parentRunId"]
    journal.set_tag(root, "imported_from", "journal.csv")
    key = journal.get_run(root).data.tags["run_key"]
    text = f"run_key,kind,experiment,backbone\n{key},single,b7v3_001,resnet18\n"
    assert importing.run(sheet(text=text)).plan.summary() == "0 new, 0 changed, 1 same"
    assert journal.get_run(root).info.lifecycle_stage == "active"


def test_the_printed_journal_is_refused_as_it_lacks_most(sheet):
    text = ",".join(column.name for column in SHOWN) + "\n" + "x," * (len(SHOWN) - 1) + "x\n"
    with pytest.raises(DataError, match="import what ranzcr journal export writes"):
        importing.run(sheet(text=text))


def test_neptunes_runs_are_imported(journal, sheet):
    text = (
        ",sys/creation_time,sys/description,sys/failed,sys/id,sys/name,sys/owner,sys/tags,"
        "parameters/backbone,parameters/img_size,metrics/cv_auc,metrics/kappa\n"
        "0,2021-03-10 10:11:12.131000+00:00,wide,False,RAN-2,r200d,amy,gem,resnet200d,512,.97,.8\n"
        "1,2021-03-09T10:11:12.131Z,,False,RAN-1,r50d,bob,,resnet50d,512,.96,\n"
    )
    importing.run(sheet(text=text, name="runs.csv"))
    run = run_of(journal, "r200d")
    assert run.info.start_time == 1615371072131
    assert run.data.metrics == {"cv_auc": 0.97, "kappa": 0.8}
    assert run.data.params["cfg.model.backbone"] == "resnet200d"
    assert run.data.params["imported.sys/tags"] == "gem"
    assert run.data.tags["author"] == "amy"
    assert counts(sheet(text=text, name="runs.csv")) == "0 new, 0 changed, 2 same"


def test_numbers_and_dates_of_a_workbook_are_what_its_text_would_be(journal, tmp_path, sheet):
    from datetime import datetime

    book = openpyxl.Workbook()
    rows = [["Model", "Size", "CV", "Date", "Epochs", "Good"]]
    rows.append(["a", 512, 0.97, datetime(2021, 3, 17), 12.0, True])
    for row in rows:
        book.active.append(row)
    book.active["C2"].number_format = "0.00%"
    book.save(tmp_path / "journal.xlsx")
    assert counts(tmp_path / "journal.xlsx") == "1 new, 0 changed, 0 same"
    text = "Model,Size,CV,Date,Epochs,Good\na,512,97%,2021-03-17,12,true\n"
    assert counts(sheet(text=text)) == "0 new, 0 changed, 1 same"


def test_an_imported_row_has_no_artifacts_and_can_be_compared(journal, sheet):
    from ranzcr.journal import diff

    importing.run(sheet())
    assert journal.list_artifacts(run_of(journal).info.run_id) == []
    shown = diff.render(diff.compare("b7v3_001", "kd_b3"))
    assert "0.9688" in shown
    assert "tf_efficientnet_b3" in shown


def test_the_command_line_shows_writes_the_mapping_and_imports(journal, sheet, tmp_path):
    shell = CliRunner()
    made = shell.invoke(
        cli.app, ["journal", "import", str(sheet()), "--write-map", str(tmp_path / "map.yaml")]
    )
    assert made.exit_code == 0
    assert "edit it, then give it with --map; nothing was imported" in made.output
    done = shell.invoke(
        cli.app, ["journal", "import", str(sheet()), "--map", str(tmp_path / "map.yaml")]
    )
    assert "map.yaml tells" in done.output
    assert done.output.endswith("journal.csv: 2 new, 0 changed, 0 same\n")
