"""A blend of the tiny data set, for register and promote."""

from __future__ import annotations

import pytest
from blends import write_blend


@pytest.fixture
def blend(journal, dataset, tmp_path):
    return write_blend(tmp_path / "blend", dataset)
