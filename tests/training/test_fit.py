import re

import numpy as np
import pytest
import torch

from ranzcr.config import Phase
from ranzcr.ensemble.auc import macro_auc
from ranzcr.errors import ConfigError, DataError, RanzcrError
from ranzcr.training.fit import fit

pytestmark = pytest.mark.slow

TRAIN = Phase(name="train", epochs=3, lr=3e-3)


class KilledError(Exception):
    pass


def _kill_after(epochs):
    def on_epoch(entry):
        if entry["epoch"] == epochs:
            raise KilledError

    return on_epoch


def _weights(result):
    return result.network.state_dict()


def _assert_same(first, second):
    for name, tensor in _weights(first).items():
        assert torch.equal(tensor, _weights(second)[name]), name


def test_a_few_images_are_memorised(made_up, tiny):
    phase = Phase(name="train", epochs=60, lr=1e-2, warmup_epochs=1)
    result = fit(tiny(phase, data={"augment": "none", "batch_size": 32}), made_up, fold=0)
    assert result.history[-1]["loss"] < 0.1


def test_what_is_in_the_image_is_learned_and_held_out_rows_are_predicted(made_up, tiny):
    phase = Phase(name="train", epochs=12, lr=1e-2, warmup_epochs=1)
    result = fit(tiny(phase, data={"augment": "none"}), made_up, fold=2)
    rows = np.flatnonzero(made_up.table["fold"] == 2)
    assert result.oof.uids.tolist() == made_up.table["StudyInstanceUID"].iloc[rows].tolist()
    targets = made_up.targets(rows)
    assert macro_auc(targets[:, :1], result.oof.values[:, :1]) > 0.95
    assert result.valid_auc == pytest.approx(macro_auc(targets, result.oof.values))
    assert result.oof.origin.fold == 2


@pytest.mark.parametrize("ema_decay", [0.0, 0.99])
def test_the_oof_predictions_are_those_of_the_final_weights(made_up, tiny, ema_decay):
    result = fit(tiny(TRAIN, ema_decay=ema_decay), made_up, fold=0)
    images = torch.from_numpy(made_up.images[np.flatnonzero(made_up.table["fold"] == 0)])
    with torch.inference_mode():
        found = result.network(images.unsqueeze(1)).sigmoid().numpy()
    assert np.allclose(found, result.oof.values, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(made_up, tiny):
    model = {"dropout": 0.5}
    first, again = (fit(tiny(TRAIN, model=model), made_up, fold=0) for _ in range(2))
    other = fit(tiny(TRAIN, model=model, seed=1), made_up, fold=0)
    _assert_same(first, again)
    assert not np.allclose(first.oof.values, other.oof.values)


@pytest.mark.parametrize("epochs", [2, 3, 4, 6])
def test_a_killed_run_ends_as_one_that_was_not(made_up, tiny, tmp_path, epochs):
    """Kill it within an epoch: in the first phase, its last epoch, and the second phase's first and
    last. Early stopping, averaged weights, dropout and accumulation all have state to keep."""
    cooldown = Phase(name="cooldown", epochs=3, lr=1e-3, schedule="constant")
    experiment = tiny(
        TRAIN, cooldown, model={"dropout": 0.3}, ema_decay=0.9, early_stopping=5, accumulate=2
    )
    whole = fit(experiment, made_up, fold=0)
    with pytest.raises(KilledError):
        fit(experiment, made_up, fold=0, resume=tmp_path, on_epoch=_kill_after(epochs))
    resumed = fit(experiment, made_up, fold=0, resume=tmp_path)
    _assert_same(whole, resumed)
    assert np.array_equal(whole.oof.values, resumed.oof.values)
    assert resumed.history == whole.history


def test_a_finished_run_is_not_trained_again(made_up, tiny, tmp_path):
    first = fit(tiny(), made_up, fold=0, resume=tmp_path)
    again = fit(tiny(), made_up, fold=0, resume=tmp_path, on_epoch=_kill_after(1))
    _assert_same(first, again)


def test_another_runs_state_is_refused(made_up, tiny, tmp_path):
    fit(tiny(), made_up, fold=0, resume=tmp_path)
    with pytest.raises(ConfigError, match=r"state.pt: of another experiment, data set or fold"):
        fit(tiny(), made_up, fold=1, resume=tmp_path)


def test_a_damaged_state_is_named(made_up, tiny, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"state.pt: damaged .* delete it to train from the begin"):
        fit(tiny(), made_up, fold=0, resume=tmp_path)


def test_staged_training_runs_through_all_its_phases(made_up, soft, tiny):
    staged = tiny(
        Phase(name="teacher", rows="annotated", drawn=True, epochs=2, warmup_epochs=1),
        Phase(name="student", rows="annotated", distill="teacher", start="fresh"),
        Phase(name="finetune"),
        Phase(name="soft", rows="external", labels="soft", min_soft=0.3, sharpen=0.8),
        Phase(name="finetune_large", image_size=32, lr=5e-6),
        model={"in_channels": 3, "head": "attention", "dropout": 0.5},
        data={"image_size": 32, "batch_size": 4},
    )
    result = fit(staged, made_up, fold=0, soft_labels=soft)
    phases = [entry["phase"] for entry in result.history]
    assert phases == ["teacher", "teacher", "student", "finetune", "soft", "finetune_large"]
    assert result.oof.values.shape == (16, 3)


def test_masks_and_attention_train_together(made_up, tiny):
    model = {"mask_decoder": True, "spatial_attention": True, "head": "gem"}
    result = fit(tiny(TRAIN, model=model, agc=0.1, grad_clip=1.0), made_up, fold=0)
    losses = [entry["loss"] for entry in result.history]
    assert losses[-1] < losses[0]


def test_bf16_trains_on_a_cpu(made_up, tiny):
    assert np.isfinite(fit(tiny(precision="bf16-mixed"), made_up, fold=0).history[-1]["loss"])


def test_early_stopping_keeps_the_best_epoch(made_up, tiny):
    # At this rate the epochs after the first ones get worse.
    phase = Phase(name="train", epochs=30, lr=3e-2, schedule="constant")
    result = fit(tiny(phase, early_stopping=2, data={"augment": "none"}), made_up, fold=0)
    scores = [entry["val_auc"] for entry in result.history]
    assert len(scores) < 30
    assert result.valid_auc == max(scores)
    assert scores.index(max(scores)) == len(scores) - 3


def test_a_loss_that_is_not_finite_stops_training_with_advice(made_up, tiny):
    phase = Phase(name="train", epochs=3, lr=1e30)
    with pytest.raises(RanzcrError, match=r"epoch \d: loss is (nan|inf); lower lr or check"):
        fit(tiny(phase), made_up, fold=0)


def test_a_log_gets_one_plain_line_per_epoch(made_up, tiny, capfd):
    fit(tiny(), made_up, fold=1)
    printed = capfd.readouterr()
    assert printed.out == ""
    pattern = r"tiny fold 1 train epoch \d/2 loss \d\.\d+ val_auc \d\.\d+ \d+ img/s"
    lines = printed.err.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(pattern, line) for line in lines)


def test_torchrun_with_other_processes_than_devices_is_refused(made_up, tiny, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="2 processes on a node for 1 devices; give --devices 2"):
        fit(tiny(TRAIN), made_up, fold=0)
