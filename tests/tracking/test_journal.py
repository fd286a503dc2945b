"""The journal as a table."""

import io
import re

import pandas as pd
import pytest
from mlflow.entities import RunStatus

from ranzcr import config
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.tracking import context, journal

DIGEST = "d" * 64


def single(name, cv, lo=None, hi=None, digest=DIGEST):
    """One trained fold of a packaged experiment, and the score of its row."""
    experiment = config.load(name)
    with context.fold_run(experiment, dataset_digest=digest, fold=0, labels=["A"]) as fold:
        pass
    with context.single_run_of(fold.run_id) as run:
        run.log_metrics({"cv_auc": cv, "cv_auc_lo": lo, "cv_auc_hi": hi})
    return run.run_id


def description(client, run_id):
    return client.get_run(run_id).data.tags["mlflow.note.content"]


@pytest.fixture
def filled(journal):
    """Two single models, one set of soft labels, one ensemble."""
    single("b7v3_001", 0.9, 0.85, 0.94)
    single("kdb3v3_b71_001", 0.91)
    context_args = {"dataset_digest": DIGEST, "digest": "x"}
    with context.pseudo_run(teachers=["b7v3_001"], counts={"train": 3}, **context_args):
        pass
    weights = {"b7v3_001": 0.25, "kdb3v3_b71_001": 0.75}
    with context.ensemble_run(weights, method="weights", **context_args) as run:
        run.log_metrics({"cv_auc": 0.92})
    return journal


def test_best_comes_first_and_what_has_no_score_last(filled):
    frame = journal.rows()
    assert list(frame.columns) == journal.COLUMNS
    assert list(frame.kind) == ["ensemble", "single", "single", "pseudo"]
    student = frame.iloc[1]
    assert (student.experiment, student.parent, student.teachers) == (
        "kdb3v3_b71_001",
        "b7v3_001",
        "b7v3_001",
    )
    assert student.backbone == "tf_efficientnet_b3.ns_jft_in1k"
    assert (student["head"], student.image_size) == ("gap", "1024")
    assert frame.iloc[0].members == "b7v3_001:0.250 kdb3v3_b71_001:0.750"


def test_rows_can_be_chosen_sorted_and_limited(filled):
    assert list(journal.rows("single").experiment) == ["kdb3v3_b71_001", "b7v3_001"]
    assert journal.rows("single", sort="experiment").experiment[0] == "b7v3_001"
    assert len(journal.rows(limit=2)) == 2
    assert list(journal.rows(sort="teachers").teachers)[-2:] == ["", ""]


def test_sizes_are_sorted_as_numbers(journal):
    from ranzcr.tracking import journal as shown

    single("b7v3_001", 0.8)  # 1024 px
    single("r200d_staged", 0.8)  # 512 px
    assert list(shown.rows(sort="image_size").image_size) == ["512", "1024"]


def test_folds_are_no_rows(journal):
    from ranzcr.tracking import journal as shown

    experiment = config.load("b7v3_001")
    for fold in (0, 1):
        with context.fold_run(experiment, dataset_digest=DIGEST, fold=fold, labels=["a"]):
            pass
    assert list(shown.rows().folds) == ["2"]


def test_the_same_experiment_again_stays_one_row(journal):
    from ranzcr.tracking import journal as shown

    single("b7v3_001", 0.8)
    single("b7v3_001", 0.9)
    assert list(shown.rows().cv_auc) == [0.9]


def test_the_table_shows_cv_with_its_interval_and_weights(filled):
    text = journal.render(journal.rows())
    assert "0.9000 [0.850, 0.940]" in text
    assert "b7v3_001:0.250" in text
    assert text.index("single") < text.index("pseudo") < text.index("ensemble")


def test_csv_has_every_column_and_reads_back(filled):
    frame = pd.read_csv(io.StringIO(journal.render(journal.rows(), "csv")))
    assert list(frame.columns) == journal.COLUMNS
    assert frame.cv_auc[0] == 0.92


def test_markdown_is_a_table_per_kind(filled):
    lines = journal.render(journal.rows(), "md").splitlines()
    assert lines[0] == "## single"
    assert all(line.startswith(("|", "#")) or not line for line in lines)


def test_html_is_one_page_with_what_people_wrote_escaped(filled):
    journal.decide("b7v3_001", "<script>keep</script> & go")
    page = journal.render(journal.rows(), "html")
    assert page.count("<table>") == page.count("</table>") == 3
    assert "&lt;script&gt;keep&lt;/script&gt; &amp; go" in page
    assert "<td>0.9000 [0.850, 0.940]</td>" in page
    assert not re.search(r"<script|<link|src=|href=|url\(", page)


def test_html_has_the_cells_of_markdown(filled):
    frame = journal.rows()
    page = re.findall("<t[hd]>(.*?)</t[hd]>", journal.render(frame, "html"))
    lines = [line for line in journal.render(frame, "md").splitlines() if line.startswith("| ")]
    markdown = [line[2:-2].split(" | ") for line in lines if "---" not in line]
    assert page == [cell.strip() for line in markdown for cell in line]


def test_an_empty_journal_is_a_page_too(journal):
    from ranzcr.tracking import journal as shown

    assert "<p>The journal is empty" in shown.render(shown.rows(), "html")


def test_an_empty_journal_says_what_to_do(journal):
    from ranzcr.tracking import journal as shown

    frame = shown.rows()
    assert list(frame.columns) == shown.COLUMNS
    assert "journal is empty" in shown.render(frame)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: journal.rows("singel"), "no kind 'singel' in the journal; did you mean single"),
        (lambda: journal.rows(sort="cv"), "no column 'cv' in the journal; did you mean"),
        (lambda: journal.render(pd.DataFrame(), "pdf"), "no format 'pdf'"),
        (lambda: journal.set_lb("x", public=97.4), "leaderboard score 97.4: expected an AUC"),
        (lambda: journal.note("x", " \n"), "the note is empty; say something"),
        (lambda: journal.decide("x", "no" * 5000), "the decision has 10000 characters; MLflow"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest(ask, message):
    with pytest.raises(ConfigError, match=message):
        ask()


def test_leaderboard_scores_go_to_a_name_or_an_id(filled):
    run_id = journal.set_lb("b7v3_001", public=0.966)
    journal.set_lb(run_id[:8], private=0.97)
    row = journal.rows().set_index("experiment").loc["b7v3_001"]
    assert (row.lb_public, row.lb_private) == (0.966, 0.97)
    assert filled.get_run(run_id).info.status == RunStatus.to_string(RunStatus.FINISHED)


def test_notes_follow_the_description_line_by_line(filled, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "ada")
    run_id = journal.note("b7v3_001", "too long\n by half")
    journal.note(run_id[:8], "again")
    about, first, second = description(filled, run_id).split("\n\n")
    assert about == config.load("b7v3_001").about
    assert re.fullmatch(r"20\d\d-\d\d-\d\d ada: too long by half", first)
    assert second.endswith(" ada: again")


def test_training_again_keeps_the_notes(filled):
    run_id = journal.note("b7v3_001", "keep me")
    single("b7v3_001", 0.9)
    assert "keep me" in description(filled, run_id)


def test_a_full_description_is_not_cut(filled):
    run_id = journal.note("b7v3_001", "a" * 7000)
    with pytest.raises(TrackingError, match="the description of b7v3_001 would have"):
        journal.note("b7v3_001", "b" * 1000)
    assert "b" * 1000 not in description(filled, run_id)


def test_a_decision_is_shown_as_it_was_written_and_says_who_and_when(filled, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "ada")
    run_id = journal.decide("b7v3_001", "drop")
    journal.decide("b7v3_001", "[/keep] :eyes:")
    tags = filled.get_run(run_id).data.tags
    assert (tags["decision"], tags["decided_by"]) == ("[/keep] :eyes:", "ada")
    assert re.match(r"20\d\d-\d\d-\d\dT", tags["decided_at"])
    assert "[/keep] :eyes:" in journal.render(journal.rows())


@pytest.mark.parametrize(
    "write", [lambda name: journal.note(name, "x"), lambda name: journal.decide(name, "x")]
)
def test_nothing_is_written_to_a_run_that_is_not_there(filled, write):
    with pytest.raises(TrackingError, match=r"no run 'b7v3_002'.*did you mean b7v3_001"):
        write("b7v3_002")


def test_an_unknown_name_is_answered_with_the_nearest(filled):
    with pytest.raises(TrackingError, match=r"no run 'b7v3_002'.*did you mean b7v3_001"):
        journal.set_lb("b7v3_002", public=0.9)


def test_a_name_of_several_runs_is_refused(filled):
    single("b7v3_001", 0.8, digest="e" * 64)
    with pytest.raises(TrackingError, match="2 runs are named b7v3_001; give one of"):
        journal.set_lb("b7v3_001", public=0.9)


def test_the_ui_is_for_this_machine_only(journal, tmp_path):
    from ranzcr.tracking import journal as shown

    ui = shown.ui_command(port=5050)
    assert ui.argv[-4:] == ["--host", "127.0.0.1", "--port", "5050"]
    assert str(tmp_path / "home" / "artifacts") in ui.argv
    assert ui.env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert ui.link.startswith("http://127.0.0.1:5050/#/experiments/")
    assert ui.link.endswith("workflowType=machine_learning")
