"""The tags about author, code and image."""

import subprocess

import pytest

from ranzcr.tracking import provenance


@pytest.fixture(autouse=True)
def _forget_gits_answers():
    git = provenance._git
    git.cache_clear()
    yield
    git.cache_clear()


def test_the_environment_names_the_author(monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "Ada")
    assert provenance.author() == "Ada"


def test_without_git_the_author_is_the_login_name_and_there_is_no_commit(monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError("git")

    for name in ("RANZCR_AUTHOR", "RANZCR_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(subprocess, "run", missing)
    monkeypatch.setattr(provenance.getpass, "getuser", lambda: "ward7")
    assert provenance.author() == "ward7"
    assert "git_commit" not in provenance.tags()


def test_the_commit_of_an_image_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("RANZCR_COMMIT", "0123abc")
    assert provenance.tags()["git_commit"] == "0123abc"


def test_a_user_without_a_name_still_works(monkeypatch):
    def nameless():
        raise KeyError("uid 1000")

    monkeypatch.delenv("RANZCR_AUTHOR", raising=False)
    monkeypatch.setattr(provenance, "_git", lambda *words: "")
    monkeypatch.setattr(provenance.getpass, "getuser", nameless)
    assert provenance.author() == "unknown"
