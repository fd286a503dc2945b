from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranzcr.ensemble import blend
from ranzcr.ensemble.auc import macro_auc
from ranzcr.errors import ConfigError
from ranzcr.extensions import BLEND_METHODS


@pytest.mark.parametrize("method", BLEND_METHODS.names())
def test_weights_are_shares(method, studies):
    weights = blend.find(method, studies.members, studies.targets)
    assert list(weights) == ["weak", "fair", "good"]
    assert min(weights.values()) >= 0
    assert sum(weights.values()) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_searched_subset_is_never_worse_than_its_best_member_on_its_rows(seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (40, 2))
    members = {name: rng.random((40, 2)).astype(np.float32) for name in "abc"}
    blended = blend.combine(members, blend.find("subset", members, targets))
    best = max(macro_auc(targets, values) for values in members.values())
    assert macro_auc(targets, blended) >= best - 1e-3  # float32 rounding may make ties


def test_cross_fitted_blend_keeps_up_with_the_best_member(studies):
    blended, weights = blend.cross_fitted(
        "weights", studies.members, studies.targets, studies.folds
    )
    best = max(macro_auc(studies.targets, values) for values in studies.members.values())
    assert macro_auc(studies.targets, blended) >= best - 0.002
    assert sorted(weights) == [0, 1, 2, 3]


def test_the_weights_of_a_fold_do_not_see_its_rows(studies):
    inside = studies.folds == 1
    targets = studies.targets.copy()
    targets[inside] = 1 - targets[inside]
    plain = blend.cross_fitted("weights", studies.members, studies.targets, studies.folds)
    turned = blend.cross_fitted("weights", studies.members, targets, studies.folds)
    assert plain[1][1] == turned[1][1]
    np.testing.assert_array_equal(plain[0][inside], turned[0][inside])


def test_a_cross_fitted_score_finds_nothing_in_noise():
    """The trap: weights chosen and scored on the same rows make noise look like skill."""
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 2, (200, 1))
    members = {str(number): rng.random((200, 1)) for number in range(10)}
    seen = blend.combine(members, blend.find("subset", members, targets))
    unseen, _ = blend.cross_fitted("subset", members, targets, np.arange(200) % 4)
    assert macro_auc(targets, seen) > 0.58
    assert macro_auc(targets, unseen) < 0.56


def test_a_member_that_is_always_right_gets_all_the_weight_every_time():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (200, 2))
    members = {"right": targets * 0.9 + 0.05, "noise": rng.random((200, 2))}
    for _ in range(2):
        assert blend.find("weights", members, targets) == {"right": 1.0, "noise": 0.0}


def test_subset_leaves_out_what_only_harms():
    targets = np.array([[1], [1], [0], [0]])
    members = {
        "a": np.array([[0.9], [0.4], [0.6], [0.1]]),
        "b": np.array([[0.4], [0.9], [0.1], [0.6]]),
        "wrong": np.array([[0.0], [0.0], [1.0], [1.0]]),
    }
    assert blend.find("subset", members, targets) == {"a": 0.5, "b": 0.5, "wrong": 0.0}


def test_one_member_gets_all_the_weight(studies):
    only = {"fair": studies.members["fair"]}
    for method in BLEND_METHODS.names():
        assert blend.find(method, only, studies.targets) == {"fair": 1.0}


def test_a_users_own_function_is_a_method(studies, tmp_path, monkeypatch):
    (tmp_path / "own_blends.py").write_text(
        "def last(members, targets):\n    return [0.0] * (len(members) - 1) + [1.0]\n"
        "def wrong(members, targets):\n    return [0.5]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    weights = blend.find("own_blends.last", studies.members, studies.targets)
    assert weights == {"weak": 0.0, "fair": 0.0, "good": 1.0}
    with pytest.raises(ConfigError, match=r"own_blends.wrong: returned \[0.5\]; expected 3"):
        blend.find("own_blends.wrong", studies.members, studies.targets)


def test_an_unknown_method_is_named_with_the_nearest(studies):
    with pytest.raises(ConfigError, match="no blend method 'wieghts'; did you mean weights"):
        blend.find("wieghts", studies.members, studies.targets)


def test_too_many_members_for_every_subset(studies):
    many = {str(number): studies.members["fair"] for number in range(13)}
    with pytest.raises(ConfigError, match=r"at most 12 members; found 13\. Use method weights"):
        blend.find("subset", many, studies.targets)


def test_cross_fitting_needs_folds(studies):
    with pytest.raises(ValueError, match="2 folds or more"):
        blend.cross_fitted("mean", studies.members, studies.targets, np.zeros(240))
