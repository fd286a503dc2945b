"""The journal as a graph: which run was made from which, and what the terminal shows of it."""

from __future__ import annotations

import shutil

import pytest

from ranzcr import cli, config
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.lineage.graph import trace
from ranzcr.lineage.render import render, write
from ranzcr.registry import candidates, ledger, registry
from ranzcr.tracking import context, server

DATA, SOFT, BLEND = "d" * 64, "5" * 64, "b" * 64
TEACHERS = ("smoke_a", "smoke_b")
LABELS = ["ETT - Abnormal", "CVC - Normal"]


def single(name, *, soft_labels="", data=DATA, teachers=()):
    """The run id of an experiment with one fold."""
    experiment = config.load(name)
    inputs = {"dataset_digest": data, "labels": LABELS, "teachers": teachers}
    with context.fold_run(experiment, fold=0, soft_labels=soft_labels, **inputs) as fold:
        pass
    with context.single_run_of(fold.run_id) as run:
        run.log_metrics({"cv_auc": 0.9, "cv_auc_lo": 0.875, "cv_auc_hi": 0.925})
    return run.run_id


def pseudo(teachers, digest=SOFT, data=DATA):
    with context.pseudo_run(
        teachers=teachers, dataset_digest=data, digest=digest, counts={"train": 10}
    ) as run:
        pass
    return run.run_id


def ensemble(weights, digest=BLEND):
    with context.ensemble_run(weights, dataset_digest=DATA, method="weights", digest=digest) as run:
        run.log_metrics({"cv_auc": 0.95})
    return run.run_id


def bare_run(client, name, **tags):
    """A row that another tool wrote, with just these tags."""
    run = client.create_run(server.experiment_id(client), run_name=name, tags=tags)
    return run.info.run_id


@pytest.fixture(scope="module")
def grown(migrated, tmp_path_factory):
    """A home with two teachers, their soft labels, a student, a blend; run ids by name."""
    home = tmp_path_factory.mktemp("grown") / "home"
    home.mkdir()
    shutil.copy(migrated, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANZCR_HOME", str(home))
        runs = {name: single(name) for name in TEACHERS}
        runs["soft"] = pseudo(TEACHERS)
        runs["smoke_student"] = single("smoke_student", soft_labels=SOFT, teachers=TEACHERS)
        runs["blend"] = ensemble({"smoke_a": 0.25, "smoke_student": 0.75})
    return home, runs


@pytest.fixture
def rows(grown, tmp_path, monkeypatch):
    """A copy of that journal for one test; run ids by name."""
    home, runs = grown
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.setenv("RANZCR_HOME", str(tmp_path / "home"))
    return runs


def links(lineage):
    """(source, target) names of a lineage's edges."""
    nodes = lineage.nodes
    return {(nodes[source].name, nodes[target].name) for source, target, _ in lineage.edges}


def sources(run_id):
    """Ids of the nodes that a run was made of."""
    return {source for source, target, _ in trace(run_id).edges if target == f"run:{run_id}"}


def test_a_blend_goes_back_to_the_data_and_each_node_is_described_once(rows):
    text = render(trace("smoke_a+smoke_student"))
    for name, run_id in rows.items():
        text = text.replace(run_id[:8], f"<{name}>")
    config_a, config_student = (
        config.load(name).config_hash[:12] for name in ("smoke_a", "smoke_student")
    )
    config_b = config.load("smoke_b").config_hash[:12]
    cv = "CV 0.9000 [0.875, 0.925]"
    assert text == (
        "ensemble smoke_a+smoke_student  CV 0.9500 · digest bbbbbbbbbbbb · finished, run <blend>\n"
        f"├─ (0.250) single smoke_a  {cv} · config {config_a}, 1 folds · finished, run <smoke_a>\n"
        "│  └─ folds by patient\n"
        "│     └─ data dddddddddddd\n"
        f"└─ (0.750) single smoke_student  {cv} · config {config_student}, 1 folds · "
        "finished, run <smoke_student>\n"
        "   └─ soft labels of smoke_a+smoke_b  digest 555555555555 · finished, run <soft>\n"
        "      ├─ single smoke_a (above)\n"
        f"      └─ single smoke_b  {cv} · config {config_b}, 1 folds · finished, run <smoke_b>\n"
        "         └─ folds by patient (above)\n"
    )


def test_a_teacher_is_followed_to_all_that_was_made_of_it(rows):
    lineage = trace("smoke_b")
    assert links(lineage) == {
        ("d" * 12, "by patient"),
        ("by patient", "smoke_b"),
        ("smoke_b", "of smoke_a+smoke_b"),
        ("of smoke_a+smoke_b", "smoke_student"),
        ("smoke_student", "smoke_a+smoke_student"),
    }
    assert "single smoke_b" in render(lineage)
    assert render(lineage).count("<- asked for") == 1


def test_a_run_is_named_by_the_beginning_of_its_id_too(rows):
    assert trace(rows["soft"][:8]).of == f"run:{rows['soft']}"


def test_of_runs_with_one_name_the_one_on_the_same_data_is_meant(rows):
    other = single("smoke_a", data="e" * 64)
    assert f"run:{rows['smoke_a']}" in sources(rows["blend"])
    assert f"run:{other}" not in sources(rows["blend"])


def test_of_runs_on_the_same_data_the_one_by_the_same_code_is_meant(rows, monkeypatch):
    monkeypatch.setenv("RANZCR_CODE", "v2")
    newer = single("smoke_a")
    blend = ensemble({"smoke_a": 1.0}, "c" * 64)
    assert sources(blend) == {f"run:{newer}"}
    assert f"run:{rows['smoke_a']}" in sources(rows["blend"])


def test_a_link_that_may_mean_several_runs_says_so(journal):
    for start in (1, 2):
        tags = {"kind": "single", "experiment": "old", "dataset_digest": DATA}
        journal.create_run(server.experiment_id(journal), start, tags)
    bare_run(journal, "b", kind="ensemble", members="old", experiment="b", dataset_digest=DATA)
    assert "(newest of 2 that fit) single old" in render(trace("b"))


def test_run_ids_or_keys_beside_the_names_leave_no_doubt(rows):
    journal = server.connect()
    key_of_a = journal.get_run(rows["smoke_a"]).data.tags["run_key"]
    ids = f"{rows['smoke_b']},{key_of_a}"
    blend = bare_run(
        *(journal, "exact"),
        **{"kind": "ensemble", "members": "x,y", "member_runs": ids, "dataset_digest": DATA},
    )
    soft = bare_run(
        *(journal, "soft"),
        **{"kind": "pseudo", "digest": "1", "teachers": "x,y", "teacher_runs": ids},
    )
    for run in (blend, soft):
        assert sources(run) == {f"run:{rows['smoke_b']}", f"run:{rows['smoke_a']}"}


def test_a_deleted_teacher_is_shown_as_lost(rows):
    server.connect().delete_run(rows["smoke_b"])
    text = render(trace("smoke_a+smoke_student"))
    assert "single smoke_b  not in the journal\n" in text


def test_a_deleted_member_with_a_recorded_id_is_shown_as_lost(rows):
    journal, gone = server.connect(), rows["smoke_b"]
    journal.delete_run(gone)
    tags = {"kind": "ensemble", "members": "smoke_b", "member_runs": gone}
    blend = bare_run(journal, "e", **tags)
    lost = trace(blend).nodes[f"run:{gone}"]
    assert (lost.name, lost.known) == ("smoke_b", False)


def test_deleted_soft_labels_are_shown_as_lost_with_their_teachers_behind(rows):
    server.connect().delete_run(rows["soft"])
    lineage = trace("smoke_student")
    assert (SOFT[:12], "smoke_student") in links(lineage)
    assert "soft labels 555555555555  not in the journal" in render(lineage)
    assert ("smoke_a", SOFT[:12]) in links(lineage)


def test_an_imported_row_has_data_that_is_not_recorded(journal):
    bare_run(journal, "sheet_7", kind="single", experiment="sheet_7", teachers="sheet_1")
    text = render(trace("sheet_7"))
    assert "data not recorded  not in the journal" in text
    assert "single sheet_1  not in the journal" in text


def test_weights_that_cannot_be_read_are_left_out(journal):
    run = bare_run(journal, "e", kind="ensemble", members="a,b", weights="[1, half]")
    assert {note for _, _, note in trace(run).edges} == {""}


def test_tags_edited_into_a_circle_do_not_hang(journal):
    for name, other in (("x", "y"), ("y", "x")):
        bare_run(journal, name, kind="single", experiment=name, teachers=other)
    lineage = trace("x")
    assert len({("x", "y"), ("y", "x")} & links(lineage)) == 1
    assert "single x" in render(lineage)


def test_a_version_goes_back_to_its_blend_and_an_alias_to_its_version(candidate):
    version = candidate()
    made = registry.promote(version, who="Ada", why="better")
    lineage = trace("champion")
    assert lineage.of == f"{ledger.PRODUCTION}/{made.version}"
    assert lineage.nodes[lineage.of].facts[:2] == (
        "champion",
        f"promote by Ada, {ledger.entries(server.connect())[0].time[:10]}",
    )
    assert {
        (f"{candidates.CANDIDATES}/{version}", lineage.of),
        ("tiny", f"{candidates.CANDIDATES}/{version}"),
    } <= links(lineage)
    assert "single tiny  not in the journal" in render(lineage)


def test_a_candidate_whose_blend_was_deleted_is_drawn_with_a_lost_one(journal, candidate):
    name = f"{candidates.CANDIDATES}/{candidate()}"
    (blend,) = (source for source, target, _ in trace(name).edges if target == name)
    journal.delete_run(blend.removeprefix("run:"))
    assert "not in the journal" in render(trace(name))


def test_an_unknown_version_is_one_line_with_the_nearest(candidate):
    candidate()
    with pytest.raises(TrackingError, match="no version 'ranzcr-clip-candidates/7' in the regis"):
        trace("ranzcr-clip-candidates/7")
    with pytest.raises(TrackingError, match="ranzcr-clip has no version yet"):
        trace("ranzcr-clip/1")


def test_an_unknown_run_is_one_line_with_the_nearest(rows):
    with pytest.raises(TrackingError, match="no run 'smoke_c' in the journal; did you mean"):
        trace("smoke_c")


def test_an_unknown_format_is_refused(rows, tmp_path):
    with pytest.raises(ConfigError, match=r"no format 'doc'; did you mean dot\?"):
        render(trace("smoke_a"), "doc")
    with pytest.raises(ConfigError, match=r"no format 'xls'; known: dot, mermaid, pdf, png, svg"):
        write(trace("smoke_a"), tmp_path / "a.xls")
    with pytest.raises(
        ConfigError, match=r"--format svg is a picture; name a file with -o FILE.svg"
    ):
        render(trace("smoke_a"), "svg")
    assert not list(tmp_path.glob("a*"))


def test_boxes_link_to_mlflows_pages(rows):
    lineage = trace("smoke_a")
    (place,) = {node.link for node in lineage.nodes.values() if node.name == "smoke_a"}
    assert place.startswith("http://127.0.0.1:5000/#/experiments/")
    assert place.endswith(f"/runs/{rows['smoke_a']}")


def test_the_command_prints_the_tree_or_draws_a_picture(rows, tmp_path, capsys):
    command = ["journal", "lineage", "smoke_b"]
    cli.app(command, standalone_mode=False)
    assert "single smoke_b" in capsys.readouterr().out
    picture = tmp_path / "smoke_b.svg"
    cli.app([*command, "-o", str(picture)], standalone_mode=False)
    assert capsys.readouterr().out == f"{picture}: 6 boxes, 5 links\n"
    assert "<svg" in picture.read_text(encoding="utf-8")
