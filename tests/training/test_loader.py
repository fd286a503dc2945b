import numpy as np
import pytest
import torch

from ranzcr.config import Phase
from ranzcr.training import loader, recipe

TEACHER = Phase(name="teacher", rows="annotated", drawn=True)
STUDENT = Phase(name="student", rows="annotated", distill="teacher")


def _loaders(experiment, dataset, number=0, **device):
    return loader.Loaders(
        experiment, dataset, recipe.legs(experiment, dataset, fold=0)[number], **device
    )


def _images(batches, epoch):
    batches.sampler.set_epoch(epoch)
    return torch.cat([batch.images for batch in batches])


def test_batches_do_not_depend_on_the_number_of_workers(made_up, tiny):
    alone, helped = (_loaders(tiny(data={"workers": n}), made_up).train() for n in (0, 2))
    assert torch.equal(_images(alone, 1), _images(helped, 1))


def test_epochs_differ_and_repeat_themselves(made_up, tiny):
    batches = _loaders(tiny(), made_up).train()
    first, second = _images(batches, 0), _images(batches, 1)
    assert not torch.equal(first, second)
    assert torch.equal(_images(batches, 0), first)


def test_validation_has_every_row_once_in_order(made_up, tiny):
    batches = _loaders(tiny(data={"batch_size": 7}), made_up).valid()
    assert torch.cat([batch.positions_B for batch in batches]).tolist() == list(range(16))


@pytest.mark.parametrize("world", [2, 3])
def test_devices_share_the_rows(made_up, tiny, world):
    seen = [
        position
        for rank in range(world)
        for batch in _loaders(tiny(), made_up, rank=rank, world=world).valid()
        for position in batch.positions_B.tolist()
    ]
    assert set(seen) == set(range(16))
    assert len(seen) == -(-16 // world) * world


def test_a_drawn_phase_sees_the_lines_and_a_student_both_views(made_up, tiny):
    experiment = tiny(TEACHER, STUDENT, model={"in_channels": 3}, data={"augment": "none"})
    teacher = next(iter(_loaders(experiment, made_up, 0).train()))
    assert teacher.images.shape == (8, 3, 32, 32)
    assert (teacher.images[:, 0] != teacher.images[:, 1]).any()
    student = next(iter(_loaders(experiment, made_up, 1).train()))
    assert student.images.shape == (8, 1, 32, 32)
    same = (student.drawn == student.images).float().mean()
    assert 0.3 < same < 1


def test_a_pair_is_augmented_alike(made_up, tiny):
    experiment = tiny(TEACHER, STUDENT, model={"in_channels": 3}, data={"augment": "warp"})
    student = next(iter(_loaders(experiment, made_up, 1).train()))
    assert (student.drawn == student.images).all(dim=1).float().mean() > 0.3


def test_masks_come_with_a_decoder_and_say_whose_they_are(made_up, tiny):
    batch = next(iter(_loaders(tiny(model={"mask_decoder": True}), made_up).train()))
    assert batch.masks.shape == (8, 3, 32, 32)
    drawn = batch.masks.flatten(1).any(dim=1)
    assert torch.equal(drawn, batch.annotated_B)
    assert not batch.masks[:, 1:].any()  # only the first family has lines


def test_targets_belong_to_their_images(made_up, tiny):
    batch = next(iter(_loaders(tiny(data={"augment": "none"}), made_up).train()))
    bright = batch.images[:, 0, :16].float().mean(dim=(1, 2)) > 120
    assert np.array_equal(bright.numpy(), batch.targets_BL[:, 0].numpy() == 1)
