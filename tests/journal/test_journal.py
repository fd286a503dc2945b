"""The journal's rows: filters, order and contents."""

import column_list
import pytest
from journal_runs import DIGEST, frame, single

from ranzcr import config
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.journal import rows
from ranzcr.journal.columns import SHOWN
from ranzcr.tracking import context

pytestmark = pytest.mark.slow


def names(**options):
    return [row["experiment"] for row in rows.select(**options).rows]


def test_the_best_row_comes_first_and_rows_without_a_score_last(filled):
    table = frame()
    assert list(table.columns) == [column.name for column in SHOWN]
    assert list(table.kind) == ["ensemble", "single", "single", "pseudo"]
    student = table.iloc[1]
    assert (student.experiment, student.parent, student.teachers) == (
        "kdb3v3_b71_001",
        "b7v3_001",
        "b7v3_001",
    )
    assert student.backbone == "tf_efficientnet_b3.ns_jft_in1k"
    assert (student["head"], student.image_size) == ("gap", "1024")
    assert table.iloc[0].members == "b7v3_001:0.250 kdb3v3_b71_001:0.750"


def test_the_promised_columns_come_first():
    promised = (
        "kind experiment parent backbone head image_size folds teachers members cv_auc cv_auc_lo "
        "cv_auc_hi lb_public lb_private gpu_hours decision run_id"
    )
    assert [column.name for column in SHOWN][:17] == promised.split()


def test_rows_can_be_chosen_sorted_and_limited(filled):
    assert names(kind="single") == ["kdb3v3_b71_001", "b7v3_001"]
    assert names(kind="single", sort="experiment") == ["b7v3_001", "kdb3v3_b71_001"]
    assert len(frame(limit=2)) == 2
    assert list(frame(sort="teachers").teachers)[-2:] == ["", ""]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("cv_auc", ["better", "worse", "none"]),
        ("cv_auc:asc", ["worse", "better", "none"]),
        ("auc/ETT", ["worse", "better", "none"]),  # metrics descend by default
        ("auc/ETT:asc", ["better", "worse", "none"]),
        ("cfg.data.image_size", ["better", "worse", "none"]),  # 512, 1024, unknown
        ("cfg.data.image_size:desc", ["worse", "better", "none"]),
        ("experiment:desc", ["worse", "none", "better"]),
        ("started", ["better", "worse", "none"]),
    ],
)
def test_each_column_sorts_both_ways_and_empty_cells_come_last(journal_of, sort, expected):
    journal_of(
        {"name": "better", "metrics": {"cv_auc": 0.9, "auc/ETT": 0.5}, "size": 512},
        {"name": "worse", "metrics": {"cv_auc": 0.8, "auc/ETT": 0.6}, "size": 1024},
        {"name": "none"},
    )
    assert names(sort=sort) == expected


def test_several_filters_of_columns_params_and_metrics_must_all_hold(filled):
    assert names(where=["cv_auc>0.9"]) == ["b7v3_001+kdb3v3_b71_001", "kdb3v3_b71_001"]
    assert names(where=["cv_auc>0.9", "kind=single"]) == ["kdb3v3_b71_001"]
    assert names(where=["cfg.model.backbone~b7"]) == ["b7v3_001"]
    assert names(where=["rows/train=3"]) == ["soft labels of b7v3_001"]
    assert names(where=["teachers="], kind="single") == ["b7v3_001"]
    assert names(where=["image_size=1024.0", "state!=failed"], kind="single", limit=1) == [
        "kdb3v3_b71_001"
    ]


def test_each_row_has_a_state_a_link_and_a_time(filled):
    row = rows.select(kind="single").rows[0]
    assert row["state"] == "finished"
    assert row["started"].startswith("20")
    assert row["link"].startswith("http://127.0.0.1:5000/#/experiments/")
    assert row["link"].endswith(f"/runs/{row['run_id']}")


def test_a_failed_run_has_the_state_failed(journal_of):
    journal_of({"name": "cut off", "status": "FAILED"}, {"name": "going on", "status": "RUNNING"})
    assert {row["state"] for row in rows.select().rows} == {"failed", "running"}


def test_a_row_with_only_a_kind_has_empty_cells(journal_of):
    journal_of({"name": "imported"}, {"name": "imported"})
    first, second = rows.select().rows
    assert first["experiment"] == second["experiment"] == "imported"
    assert {first[name] for name in ("parent", "backbone", "changed", "decision")} == {""}
    assert first["cv_auc"] is None


def test_damaged_weights_do_not_break_the_journal(journal_of):
    for weights in ("{broken", "[1]", '{"a": "much"}'):
        journal_of({"name": "a+b", "tags": {"members": "a,b", "weights": weights}})
    assert {row["members"] for row in rows.select().rows} == {"a b"}


def test_sizes_are_sorted_as_numbers(journal):
    single("b7v3_001", 0.8)  # 1024 px
    single("r200d_staged", 0.8)  # 512 px
    assert list(frame(sort="image_size").image_size) == ["512", "1024"]


def test_folds_are_not_rows(journal):
    experiment = config.load("b7v3_001")
    for fold in (0, 1):
        with context.fold_run(experiment, dataset_digest=DIGEST, fold=fold, labels=["a"]):
            pass
    assert list(frame().folds) == ["2"]


def test_the_same_experiment_again_stays_one_row(journal):
    single("b7v3_001", 0.8)
    single("b7v3_001", 0.9)
    assert list(frame().cv_auc) == [0.9]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"kind": "singel"}, "no kind 'singel' in the journal; did you mean single"),
        ({"sort": "cv"}, "no column 'cv' in the journal; did you mean cv_auc"),
        ({"where": ["bakbone=x"]}, "no column 'bakbone' in the journal; did you mean backbone"),
        ({"where": ["cfg.modl.head=x"]}, "did you mean cfg.model.head"),
        ({"where": ["auc/ET=1"]}, "did you mean auc/ETT"),
        ({"where": ["cv_auc"]}, "filter 'cv_auc': expected column, one of"),
        ({"where": ["cv_auc>"]}, "filter 'cv_auc>': no value after >"),
        ({"limit": 0}, "limit=0 must be at least 1"),
    ],
)
def test_the_error_for_an_unknown_word_names_the_nearest(journal_of, ask, message):
    journal_of({"name": "a", "metrics": {"auc/ETT": 0.5}, "params": {"cfg.model.head": "gem"}})
    with pytest.raises(ConfigError, match=message):
        rows.select(**ask)


def test_no_journal_an_empty_journal_and_no_match_have_different_messages(
    tmp_path, monkeypatch, request
):
    monkeypatch.setenv("RANZCR_HOME", str(tmp_path / "none"))
    assert rows.select().message.startswith(f"No journal yet at {tmp_path / 'none'}/mlflow.db")
    assert not (tmp_path / "none").exists()  # reading creates nothing
    request.getfixturevalue("journal")
    assert rows.select().message.startswith("The journal is empty: run a pipeline")
    assert rows.select(kind="single").message == "No run of the journal matches.\n"


def test_a_name_of_several_runs_is_refused(filled):
    single("b7v3_001", 0.8, digest="e" * 64)
    with pytest.raises(TrackingError, match=r"2 runs are named b7v3_001; give one of \w{8} of 20"):
        rows.resolve("b7v3_001")


def test_a_run_is_found_by_its_name_its_id_and_the_beginning_of_its_id(filled):
    run_id = rows.resolve("b7v3_001")
    assert rows.resolve(run_id) == rows.resolve(run_id[:8]) == run_id
    with pytest.raises(TrackingError, match="no run"):
        rows.resolve(run_id[:7])


def test_the_error_for_an_unknown_name_names_the_nearest(filled):
    with pytest.raises(TrackingError, match=r"no run 'b7v3_002'.*did you mean b7v3_001"):
        rows.resolve("b7v3_002")


def test_the_error_for_a_name_in_an_empty_journal_says_that_it_is_empty(journal):
    with pytest.raises(TrackingError, match="no run 'x': the journal is empty; run a pipeline"):
        rows.resolve("x")


def test_the_page_of_the_journal_lists_its_columns():
    page = column_list.PAGE.read_text(encoding="utf-8")
    assert page == column_list.renewed(page), "run python tests/journal/column_list.py"
