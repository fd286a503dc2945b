"""The journal and the registry tell a chat what they did."""

import pytest
from chat import Chat, serving

from ranzcr import config
from ranzcr.registry import registry
from ranzcr.registry.gates import Gate, GateReport
from ranzcr.tracking import context


@pytest.fixture
def chat(monkeypatch):
    listening = Chat()
    monkeypatch.setenv("RANZCR_WEBHOOK_URL", listening.url)
    with serving(listening):
        yield listening


def test_promotions_rollbacks_and_rejections_are_told(three, chat):
    registry.promote("1", why="first")
    registry.promote("2", why="better")
    registry.rollback(why="worse")
    registry.reject("3", why="too slow")
    assert chat.titles == [
        "ranzcr-clip: candidate 1 promoted",
        "ranzcr-clip: candidate 2 promoted",
        "ranzcr-clip: candidate 1 brought back",
        "ranzcr-clip: candidate 3 rejected",
    ]


def test_failed_gates_are_told(candidate, chat):
    candidate(report=GateReport((Gate("cv", False, 0.4, 0.5, "low"),)))
    assert len(chat.titles) == 1
    assert "failed its gates" in chat.titles[0]


def test_a_fold_is_told_only_where_it_fails(journal, chat):
    def fold(error=None):
        with context.fold_run(
            config.load("smoke_a"), dataset_digest="d" * 64, fold=0, labels=["a"]
        ):
            if error:
                raise error

    fold()
    assert chat.titles == []
    with pytest.raises(RuntimeError):
        fold(RuntimeError())
    assert chat.titles == ["fold smoke_a failed"]
