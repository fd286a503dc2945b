from __future__ import annotations

import numpy as np
import pytest

from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.data import annotations
from ranzcr.labels import LabelSchema

SCHEMA = LabelSchema(("ETT - Normal", "CVC - Normal"))


@pytest.mark.parametrize(
    "text", ["", "[]", "7", '{"x": 1}', "[[1, 2, 3]]", '[["1", 2]]', "[[1e999, 0]]"]
)
def test_points_that_are_no_points_are_refused(text):
    with pytest.raises(ValueError, match="not"):
        annotations.parse_points(text)


def test_a_point_is_a_square_of_50_original_pixels():
    image = np.zeros((200, 200), np.uint8)
    drawn = annotations.draw(image, [("ETT - Normal", [[100, 100]])], SCHEMA, width=200, height=200)
    assert drawn.shape == (200, 200, 3)
    assert drawn.any(axis=2).sum() == 50 * 50
    assert (drawn[100, 100] == annotations.label_colours(SCHEMA)[0]).all()
    assert not image.any()


def test_squares_shrink_with_the_image_each_way_by_its_own_scale():
    image = np.zeros((100, 100), np.uint8)
    line = ("CVC - Normal", [[500, 250]])
    drawn = annotations.draw(image, [line], SCHEMA, width=1000, height=500).any(axis=2)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert (len(columns), len(rows)) == (6, 10)  # 5 and 10, to whole pixels outwards
    assert drawn[50, 50]


def test_points_outside_are_cut_off():
    image = np.zeros((64, 64), np.uint8)
    line = ("ETT - Normal", [[-500, -500], [0, 0]])
    drawn = annotations.draw(image, [line], SCHEMA, width=640, height=640).any(axis=2)
    assert drawn[0, 0]
    assert not drawn[5:, 5:].any()


def test_every_label_has_its_own_colour():
    colours = annotations.label_colours(PHANTOM_LABELS)
    assert len({tuple(colour) for colour in colours.tolist()}) == 11
    assert (colours.max(axis=1) == 255).all()


def test_masks_hold_the_lines_of_one_family_each():
    lines = [("ETT - Normal", [[0, 320], [640, 320]]), ("CVC - Normal", [[320, 0], [320, 640]])]
    masks = annotations.line_masks(64, lines, ("ETT", "CVC"), width=640, height=640)
    assert masks.shape == (2, 64, 64)
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    assert masks[0, 32].all()
    assert masks[0].sum() == 3 * 64  # 32 px of the original are 3.2 here
    assert (masks[1] == masks[0].T).all()


def test_no_family_makes_no_mask():
    assert annotations.line_masks(32, [], (), width=32, height=32).shape == (0, 32, 32)


def test_a_line_is_at_least_one_pixel_wide():
    lines = [("ETT - Normal", [[0, 1500], [3000, 1500]])]
    assert annotations.line_masks(32, lines, ("ETT",), width=3000, height=3000).sum() == 32


def test_a_line_of_one_point_is_seen():
    masks = annotations.line_masks(32, [("ETT - Normal", [[9, 9]])], ("ETT",), width=32, height=32)
    assert masks.any()


def test_families_with_annotations_come_in_schema_order():
    found = annotations.annotated_families(
        ["CVC - Normal", "NGT - Normal", "ETT - Normal"], PHANTOM_LABELS
    )
    assert found == ("ETT", "NGT", "CVC")
