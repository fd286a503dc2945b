import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.config import DataConfig, Experiment, Phase
from ranzcr.errors import ConfigError, DataError
from ranzcr.labels import UID
from ranzcr.training import recipe

SOFT = Phase(name="soft", rows="soft", labels="soft")
EXTERNAL = Phase(name="external", rows="external", labels="soft")


@pytest.mark.parametrize("fold", range(3))
@pytest.mark.parametrize(
    "phase",
    [Phase(name="t"), Phase(name="d", rows="annotated", drawn=True), SOFT, EXTERNAL],
    ids=lambda phase: phase.name,
)
def test_a_folds_rows_are_never_trained_on(made_up, soft, tiny, phase, fold):
    (leg,) = recipe.legs(tiny(phase), made_up, fold=fold, soft_labels=soft)
    assert not np.isin(made_up.table["fold"].to_numpy()[leg.rows_R], fold).any()
    assert (made_up.table["fold"].to_numpy()[leg.valid_rows] == fold).all()
    assert not np.isnan(leg.targets_RL).any()
    assert leg.targets_RL.min() >= 0


@given(fold=st.integers(0, 2), rows=st.sampled_from(["train", "annotated"]))
def test_train_and_validation_rows_share_no_study(made_up, fold, rows):
    phase = Phase(name="p", rows=rows)
    experiment = Experiment(name="tiny", data=DataConfig(image_size=32))
    leg = recipe._leg(experiment, phase, 0, made_up, fold, None)
    assert not set(leg.rows_R) & set(leg.valid_rows)


def test_hard_labels_are_the_tables(made_up, tiny):
    (leg,) = recipe.legs(tiny(), made_up, fold=0)
    assert np.array_equal(leg.targets_RL, made_up.targets(leg.rows_R))
    assert len(leg.rows_R) == 32


def test_annotated_rows_have_lines_and_a_drawn_phase_validates_on_such(made_up, tiny):
    drawn = Phase(name="teacher", rows="annotated", drawn=True)
    plain = Phase(name="student", rows="annotated", distill="teacher")
    teacher, student = recipe.legs(tiny(drawn, plain), made_up, fold=1)
    assert (teacher.rows_R % 2 == 0).all()
    assert len(teacher.valid_rows) == 8
    assert len(student.valid_rows) == 16


def test_soft_labels_are_fold_matched_and_teachers_averaged(made_up, soft, tiny):
    (leg,) = recipe.legs(tiny(SOFT), made_up, fold=1, soft_labels=soft)
    assert len(leg.rows_R) == 32 + 6 + 9
    split = made_up.table["split"].to_numpy()[leg.rows_R]
    assert leg.targets_RL[split != "external"] == pytest.approx(0.5)
    assert leg.targets_RL[split == "external"] == pytest.approx(0.6)


def test_an_experiment_learns_from_its_own_teachers(made_up, soft, tiny):
    experiment = tiny(SOFT).model_copy(update={"teachers": ("a",)})
    (leg,) = recipe.legs(experiment, made_up, fold=0, soft_labels=soft)
    assert leg.targets_RL == pytest.approx(0.25)


def test_uncertain_soft_rows_are_dropped_and_the_others_sharpened(made_up, soft, tiny):
    phase = SOFT.model_copy(update={"min_soft": 0.55, "sharpen": 0.8})
    (leg,) = recipe.legs(tiny(phase), made_up, fold=1, soft_labels=soft)
    assert (made_up.table["split"].to_numpy()[leg.rows_R] == "external").all()
    assert leg.targets_RL == pytest.approx(max(1 - 0.4**0.8, 0.5))


def test_a_missing_teacher_is_named(made_up, soft, tiny):
    experiment = tiny(SOFT).model_copy(update={"teachers": ("b7v3_001",)})
    with pytest.raises(DataError, match="no teacher b7v3_001; found a, b"):
        recipe.legs(experiment, made_up, fold=0, soft_labels=soft)


def test_missing_soft_labels_are_asked_for(made_up, tiny):
    with pytest.raises(ConfigError, match="tiny: learns from soft labels; give the folder"):
        recipe.legs(tiny(SOFT), made_up, fold=0)


def test_soft_labels_of_another_data_set_are_refused(made_up, soft, tiny):
    from dataclasses import replace

    other = replace(made_up, digest="e" * 64)
    with pytest.raises(DataError, match="made from data set dddddddddddd, expected eeeeeeeeeeee"):
        recipe.legs(tiny(SOFT), other, fold=0, soft_labels=soft)


def test_a_phase_without_rows_says_what_is_missing(made_up, soft, tiny):
    phase = EXTERNAL.model_copy(update={"min_soft": 0.9})
    with pytest.raises(
        ConfigError, match=r"external has no rows: .* soft label above 0.9; add ext"
    ):
        recipe.legs(tiny(phase), made_up, fold=0, soft_labels=soft)


def test_annotations_that_are_not_there_are_asked_for(made_up, tiny):
    from dataclasses import replace

    bare = replace(made_up, annotations=made_up.annotations.iloc[:0])
    with pytest.raises(ConfigError, match=r"no annotated rows; add train_annotations.csv"):
        recipe.legs(tiny(Phase(name="a", rows="annotated")), bare, fold=0)
    assert UID in bare.annotations


def test_a_fold_that_is_not_there_is_refused(made_up, tiny):
    with pytest.raises(ConfigError, match="fold 3: the data set has folds 0 to 2"):
        recipe.legs(tiny(), made_up, fold=3)


def test_images_are_never_enlarged(made_up, tiny):
    with pytest.raises(ConfigError, match="wants 64 px, the data set has 32; prepare it with"):
        recipe.legs(tiny(Phase(name="large", image_size=64)), made_up, fold=0)
