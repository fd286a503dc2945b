"""Compiled pipelines change only on purpose."""

from __future__ import annotations

import difflib

import golden
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "profile"), golden.CASES)
def test_the_compiled_pipeline_is_the_golden_one(name, profile):
    expected, compiled = golden.expected(name, profile), golden.compiled(name, profile)
    if compiled != expected:
        before, now = (golden.as_yaml(documents).splitlines() for documents in (expected, compiled))
        lines = difflib.unified_diff(before, now, "golden", "compiled", lineterm="", n=2)
        file = golden.file_of(name, profile).name
        difference = "\n".join(list(lines)[:60])
        pytest.fail(
            f"{name} with profile {profile} compiles to something else than {file}:\n{difference}\n"
            "If this is intended, run python tests/pipelines/golden.py and say why in the commit.",
            pytrace=False,
        )


def test_there_are_no_golden_files_of_deleted_pipelines_or_profiles():
    files = {golden.file_of(name, profile) for name, profile in golden.CASES}
    assert set(golden.FOLDER.glob("*.yaml")) == files
