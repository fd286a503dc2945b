"""Saved views are written, kept and removed."""

import base64
import json
import zlib

import pytest
from typer.testing import CliRunner

from ranzcr import cli, config
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.journal import views
from ranzcr.tracking import context, server
from ranzcr.tracking.names import Tag

MLFLOW_TAKES = 5000  # characters of an experiment's tag before MLflow 3; 20,000 since
DIGEST = "d" * 64


@pytest.fixture
def single(journal):
    """The run id of a single model with one fold."""
    experiment = config.load("smoke_a")
    with context.fold_run(experiment, dataset_digest=DIGEST, fold=0, labels=["a"]) as fold:
        pass
    return journal.get_run(fold.run_id).data.tags[Tag.PARENT_RUN]


def saved(client):
    """Every saved view of the journal: id -> the tag."""
    tags = client.get_experiment(server.experiment_id(client)).tags
    return {key.removeprefix(views.TAG): tags[key] for key in tags if key.startswith(views.TAG)}


def save(client, view_id, tag):
    client.set_experiment_tag(server.experiment_id(client), f"{views.TAG}{view_id}", tag)


def opened(tag):
    """The name and the state, read as MLflow's page reads them."""
    content = json.loads(tag)
    assert isinstance(content["createdAt"], int)
    packed = content["state"].removeprefix("deflate;")
    assert packed != content["state"]
    return content["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def test_each_view_is_written_as_declared(journal):
    views.provision()
    written = {view_id: opened(tag) for view_id, tag in saved(journal).items()}
    assert written == {view.id: (view.name, views.state(view)) for view in views.VIEWS}


def test_a_tag_is_short_enough_for_any_server(journal, single):
    views.provision(["smoke_a"])
    assert max(map(len, saved(journal).values())) < MLFLOW_TAKES


def test_a_second_call_changes_nothing(journal, single):
    first = views.provision(["smoke_a"])
    before = saved(journal)
    assert views.provision() == first
    assert saved(journal) == before


def test_a_view_changed_by_hand_is_overwritten(journal):
    views.provision()
    view = views.VIEWS[0]
    before = json.loads(saved(journal)[view.id])
    save(journal, view.id, json.dumps({**before, "name": "mine", "createdAt": 7}))
    views.provision()
    after = json.loads(saved(journal)[view.id])
    assert (after["name"], after["createdAt"]) == (view.name, 7)
    assert after["updatedAt"] > 7


@pytest.mark.parametrize("tag", ["", "{", "[]", '{"name": 1}', '{"state": "deflate;AAAA"}'])
def test_a_damaged_view_is_written_again(journal, tag):
    view = views.VIEWS[0]
    save(journal, view.id, tag)
    views.provision()
    assert opened(saved(journal)[view.id]) == (view.name, views.state(view))


def test_a_view_that_is_no_longer_defined_is_removed(journal, monkeypatch):
    views.provision()
    gone, *left = views.VIEWS
    monkeypatch.setattr(views, "VIEWS", tuple(left))
    assert views.provision().removed == [gone.id]
    assert set(saved(journal)) == {view.id for view in left}


def test_views_that_people_saved_are_left_alone(journal):
    theirs = {"0b1c5a4e-8a53-4c2b-9d55-2f0f2f1f7c11": '{"name": "mine"}', "ranzcr": "not ours"}
    for view_id, tag in theirs.items():
        save(journal, view_id, tag)
    views.provision()
    assert views.provision().removed == []
    assert {key: saved(journal)[key] for key in theirs} == theirs


def test_the_folds_of_an_experiment_are_found_by_their_root_key(journal, single):
    links = views.provision(["smoke_a"]).links
    name, state = opened(saved(journal)[f"ranzcr-folds-{single}"])
    folds = journal.search_runs([server.experiment_id(journal)], state["searchFilter"])
    assert [run.info.run_name for run in folds] == ["smoke_a fold 0"]
    assert links[-1].name == name == f"Folds of smoke_a ({single[:8]})"


def test_a_view_of_folds_is_removed_with_its_experiment(journal, single):
    views.provision(["smoke_a"])
    journal.delete_run(single)
    assert views.provision().removed == [f"ranzcr-folds-{single}"]
    assert set(saved(journal)) == {view.id for view in views.VIEWS}


def test_the_error_for_folds_of_an_unknown_experiment_names_the_nearest(journal, single):
    with pytest.raises(TrackingError, match=r"no run 'smoke_' .* did you mean smoke_a\?"):
        views.provision(["smoke_"])
    assert saved(journal) == {}


def test_an_ensemble_has_no_folds(journal):
    with context.ensemble_run({"a": 1.0}, dataset_digest=DIGEST, method="mean", digest="1"):
        pass
    with pytest.raises(ConfigError, match="a is of kind ensemble; only single models have folds"):
        views.provision(["a"])
    assert saved(journal) == {}


def test_links_open_the_view_on_the_server_of_the_pages(journal):
    urls = {link.name: link.url for link in views.provision().links}
    place = server.experiment_id(journal)
    page = f"http://127.0.0.1:5000/#/experiments/{place}/runs?workflowType=machine_learning"
    table, charts = "ranzcr-singles&compareRunsMode=TABLE", "ranzcr-lb&compareRunsMode=CHART"
    assert urls["Single models by CV"] == f"{page}&viewStateShareKey={table}"
    assert urls["CV against leaderboard"] == f"{page}&viewStateShareKey={charts}"


def test_the_command_prints_the_links_and_how_to_serve_them(journal):
    save(journal, "ranzcr-old", "{}")
    lines = CliRunner().invoke(cli.app, ["journal", "views"]).stdout.splitlines()
    links = [text for link in views.provision().links for text in (link.name, f"  {link.url}")]
    assert lines[: len(links)] == links
    assert lines[len(links) :] == [
        "removed ranzcr-old, which is no longer defined",
        "The links work while this command runs: ranzcr ui",
    ]
