"""What a cluster is told to do changes on purpose alone."""

from __future__ import annotations

import difflib

import golden
import pytest


@pytest.mark.parametrize(("name", "profile"), golden.CASES)
def test_the_compiled_pipeline_is_the_golden_one(name, profile):
    expected, found = golden.kept(name, profile), golden.compiled(name, profile)
    if found != expected:
        before, now = (golden.shown(documents).splitlines() for documents in (expected, found))
        lines = difflib.unified_diff(before, now, "golden", "compiled", lineterm="", n=2)
        file = golden.file_of(name, profile).name
        shown = "\n".join(list(lines)[:60])
        pytest.fail(
            f"{name} with profile {profile} compiles to something else than {file}:\n{shown}\n"
            "If that is meant, run python tests/pipelines/golden.py and say why in the commit.",
            pytrace=False,
        )


def test_no_golden_file_is_left_of_what_is_gone():
    kept = {golden.file_of(name, profile) for name, profile in golden.CASES}
    assert set(golden.FOLDER.glob("*.yaml")) == kept
