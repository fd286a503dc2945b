"""fetch: a registered version -> the folders it was registered from."""

import json

import champion
import pytest

from ranzcr.errors import TrackingError
from ranzcr.files import hash_folder
from ranzcr.registry import candidates
from ranzcr.stages import fetch


@pytest.fixture
def run(journal, tmp_path):
    """Fetch a version into folders of their own."""

    def _run(version):
        out = tmp_path / "fetched"
        return fetch.run(version, out / "ensemble", out / "blend", out / "candidate.json")

    return _run


def test_the_fetched_folders_are_the_registered_ones(run, dataset, tmp_path):
    version = champion.promote_one(tmp_path / "made", dataset)
    result = run("champion")
    assert (result.candidate.version, result.candidate.gate) == (version, "pass")
    assert result.image_size == 64
    for folder in ("ensemble", "blend"):
        fetched, registered = (tmp_path / name / folder for name in ("fetched", "made"))
        assert hash_folder(fetched) == hash_folder(registered)
    written = json.loads((tmp_path / "fetched" / "candidate.json").read_text())
    assert written == json.loads((tmp_path / "made" / "candidate.json").read_text())


def test_a_version_that_failed_is_fetched_with_the_reason(run, dataset, tmp_path):
    version = champion.register_one(tmp_path / "made", dataset, min_auc=0.9999)
    fetched = run(version).candidate
    assert fetched.gate == "fail"
    assert fetched.why.startswith("cv: ")


def test_an_unknown_version_is_named(run):
    with pytest.raises(TrackingError, match="has no version 7"):
        run("7")


def test_files_that_were_changed_since_are_refused(run, journal, dataset, tmp_path):
    version = champion.register_one(tmp_path / "made", dataset)
    journal.set_model_version_tag(candidates.CANDIDATES, version, "digest", "0" * 64)
    with pytest.raises(TrackingError, match="it was registered with 000000000000; find all"):
        run(version)
    assert not (tmp_path / "fetched").exists()
