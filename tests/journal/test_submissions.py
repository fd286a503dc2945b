"""Kaggle's list of submissions: scores for the runs that it names."""

import pytest
from journal_runs import frame

from ranzcr.errors import DataError
from ranzcr.journal import importing, notes
from ranzcr.journal import rows as record
from ranzcr.tracking import context

HEADER = "fileName,date,description,status,publicScore,privateScore\n"
WEIGHTS = {"b7v3_001": 0.5, "kd_b3": 0.5}


@pytest.fixture
def filled(journal, tmp_path):
    """Two imported models and a blend of them that ranzcr made."""
    (tmp_path / "journal.csv").write_text("experiment,cv_auc\nb7v3_001,0.96\nkd_b3,0.97\n")
    importing.run(tmp_path / "journal.csv")
    with context.ensemble_run(WEIGHTS, dataset_digest="d" * 64, method="mean", digest="x"):
        pass
    return journal


@pytest.fixture
def submitted(tmp_path):
    def run(*lines, header=HEADER, **options):
        (tmp_path / "submissions.csv").write_text(header + "\n".join(lines) + "\n")
        return importing.run(tmp_path / "submissions.csv", **options)

    return run


def public(name):
    table = frame()
    return table.lb_public[table.experiment == name].item()


def test_scores_go_to_the_run_that_is_named(filled, submitted):
    plan = submitted(
        "submission.csv,2021-03-10 10:00:00,b7v3_001 with tta,complete,0.967,0.968",
        "kd_b3.csv,2021-03-11 10:00:00,,complete,0.969,None",
        "submission.csv,2021-03-12 10:00:00,blend b7v3_001 + kd_b3,complete,0.971,0.972",
    )
    assert plan.summary() == "0 new, 3 changed, 0 same"
    assert [public(name) for name in ("b7v3_001", "kd_b3", "b7v3_001+kd_b3")] == [
        *[0.967, 0.969, 0.971]
    ]
    assert frame().lb_private.count() == 2
    tags = filled.get_run(record.resolve("kd_b3")).data.tags
    assert tags["lb_submission"] == "kd_b3.csv of 2021-03-11 10:00:00"


def test_the_same_list_again_changes_nothing(filled, submitted):
    lines = [
        "submission.csv,2021-03-10 10:00:00,b7v3_001,complete,0.967,0.968",
        "submission.csv,2021-03-10 11:00:00,something else,complete,0.95,0.96",
    ]
    assert submitted(*lines).summary() == "1 new, 1 changed, 0 same"
    assert submitted(*lines).summary() == "0 new, 0 changed, 2 same"


def test_the_latest_submission_counts(filled, submitted):
    plan = submitted(
        "submission.csv,2021-03-11 10:00:00,b7v3_001 again,complete,0.968,",
        "submission.csv,2021-03-10 10:00:00,b7v3_001,complete,0.967,",
    )
    assert public("b7v3_001") == 0.968
    assert plan.notes == [
        "several submissions name b7v3_001: row 2 is later than row 3, and counts"
    ]


def test_newer_lists_have_a_number_and_begin_with_a_warning(filled, submitted):
    header = "Warning: an outdated version\nref," + HEADER
    line = "77,submission.csv,2026-07-28 15:17:26.513000,b7v3_001,SubmissionStatus.COMPLETE,0.967,"
    submitted(line, header=header)
    assert filled.get_run(record.resolve("b7v3_001")).data.tags["lb_submission"] == "77"


@pytest.mark.parametrize("description", ["b7v3_001", "hail mary"])
@pytest.mark.parametrize("newer_first", [True, False])
def test_a_submission_is_the_same_with_and_without_its_number(
    filled, submitted, description, newer_first
):
    older = f"submission.csv,2021-03-15 11:10:41,{description},complete,0.97,0.971"
    ended = "SubmissionStatus.COMPLETE,0.97,0.971"
    newer = f"77,submission.csv,2021-03-15 11:10:41.217000,{description},{ended}"
    lists = [((newer,), "ref," + HEADER), ((older,), HEADER)]
    first, second = lists if newer_first else reversed(lists)
    submitted(*first[0], header=first[1])
    assert submitted(*second[0], header=second[1]).summary() == "0 new, 0 changed, 1 same"
    assert submitted(*first[0], header=first[1]).summary() == "0 new, 0 changed, 1 same"


def test_what_names_no_run_becomes_a_row(filled, submitted):
    plan = submitted(
        "submission.csv,2021-03-10 10:00:00,hail mary,complete,0.95,0.96", kind="ensemble"
    )
    assert [row.name for row in plan.new] == ["hail mary"]
    row = frame().set_index("experiment").loc["hail mary"]
    assert (row.kind, row.lb_public, row.started) == ("ensemble", 0.95, "2021-03-10T10:00:00Z")


@pytest.mark.parametrize("text", ["b7v3_0012", "xb7v3_001", "my-kd_b3"])
def test_a_name_within_a_longer_word_does_not_count(filled, submitted, text):
    line = f"submission.csv,2021-03-10 10:00:00,{text},complete,0.95,0.96"
    assert submitted(line, dry_run=True).summary() == "1 new, 0 changed, 0 same"


def test_two_names_become_a_row_with_a_note(filled, submitted):
    plan = submitted("submission.csv,2021-03-10 10:00:00,b7v3_001 or kd_b3,complete,0.95,0.96")
    assert plan.summary() == "1 new, 0 changed, 0 same"
    assert plan.notes == ["row 2 'b7v3_001 or kd_b3' names b7v3_001 and kd_b3: a row of its own"]


def test_submissions_without_a_score_are_left_out_with_a_note(filled, submitted):
    plan = submitted(
        "a.csv,2021-03-10 10:00:00,b7v3_001,error,,",
        "b.csv,2021-03-10 10:00:00,b7v3_001,pending,,",
    )
    assert plan.summary() == "0 new, 0 changed, 0 same"
    assert plan.notes == ["submissions without a score are left out: rows 2, 3"]


def test_a_sheet_that_is_imported_again_leaves_the_scores(filled, submitted, tmp_path):
    submitted("submission.csv,2021-03-10 10:00:00,b7v3_001,complete,0.967,0.968")
    again = importing.run(tmp_path / "journal.csv")
    assert again.summary() == "0 new, 0 changed, 2 same"
    assert public("b7v3_001") == 0.967


def test_a_wrong_score_is_placed_and_nothing_is_written(filled, submitted):
    notes.set_lb("b7v3_001", public=0.5)
    with pytest.raises(DataError, match=r"submissions.csv: row 3: '97.1' is not a valid AUC"):
        submitted(
            "a.csv,2021-03-10 10:00:00,b7v3_001,complete,0.967,",
            "b.csv,2021-03-11 10:00:00,kd_b3,complete,97.1,",
        )
    assert public("b7v3_001") == 0.5
