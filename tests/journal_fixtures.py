"""Fixtures of the journal and the registry: a real MLflow on SQLite, hand-made folders."""

from __future__ import annotations

import json
import shutil
import sqlite3

import journal_runs
import numpy as np
import pytest
from journal_runs import row

from ranzcr import documents
from ranzcr.labels import LabelSchema
from ranzcr.predictions import Origin, Predictions
from ranzcr.registry.gates import Gate, GateReport

PASSED = GateReport((Gate("cv", True, 0.8, 0.5, "good"),))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An empty MLflow database; creating its tables takes seconds, so tests copy it."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def journal(tmp_path, monkeypatch, migrated):
    """An empty journal for one test; returns its client."""
    return _copy_of(migrated, tmp_path / "home", monkeypatch)


def _copy_of(database, home, monkeypatch):
    from ranzcr.tracking import server

    home.mkdir()
    shutil.copy(database, home / "mlflow.db")
    monkeypatch.setenv("RANZCR_HOME", str(home))
    monkeypatch.delenv("RANZCR_CODE", raising=False)
    return server.connect()


@pytest.fixture(scope="session")
def ensemble_folder(tmp_path_factory):
    """An ensemble folder as export writes it: one ONNX model that predicts the mean grey / 255."""
    folder = tmp_path_factory.mktemp("export") / "ensemble"
    labels = ["ETT - Abnormal", "CVC - Normal"]
    (folder / "tiny").mkdir(parents=True)
    _grey_model(folder / "tiny" / "fold0.onnx", len(labels))
    member = {"experiment": "tiny", "weight": 1.0, "image_size": 32, "tta": "none"}
    told = {
        "labels": labels,
        "members": [{**member, "models": ["tiny/fold0.onnx"]}],
        "dataset_digest": "d" * 64,
        "blend_digest": "b" * 64,
        "cache_size": 32,
        "prevalence": [0.1, 0.2],
        "method": "weights",
    }
    (folder / "ensemble.json").write_text(json.dumps(told))
    parity = {"max_abs_diff": {"tiny/fold0.onnx": 1e-6}, "limit": 1e-4}
    (folder / "parity.json").write_text(json.dumps(parity))
    return folder


def _grey_model(path, labels):
    """(B, 1, S, S) image of 0..255 -> (B, L) probability."""
    import onnx
    from onnx import TensorProto, helper

    weights = helper.make_tensor("scale", TensorProto.FLOAT, [1, labels], [1 / 255] * labels)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["grey", "scale"], ["probability"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 1, 32, 32])
    probability = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["B", labels])
    graph = helper.make_graph(nodes, "grey", [image], [probability], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


@pytest.fixture
def blend_folder(tmp_path):
    """A hand-made folder as blend writes it: 40 studies, predictions that are mostly right."""
    return write_blend(tmp_path / "blend")


def write_blend(folder):
    """The same in a folder that is not there yet."""
    folder.mkdir()
    schema = LabelSchema(("ETT - Abnormal", "CVC - Normal"))
    rng = np.random.default_rng(0)
    uids = np.array([f"study{index}" for index in range(40)])
    values = rng.random((40, 2), dtype=np.float32)
    origin = Origin(experiment="tiny", dataset_digest="d" * 64, members=("tiny",))
    Predictions(uids, values, schema, origin).write(folder / "oof.parquet")
    told = {
        **{"method": "weights", "weights": {"tiny": 1.0}, "members": ["tiny"]},
        **{"cv_auc": 0.8, "cv_auc_lo": 0.7, "cv_auc_hi": 0.9},
        **{"dataset_digest": "d" * 64, "digest": "b" * 64, "run_id": ""},
    }
    (folder / "blend.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def candidate(journal, ensemble_folder, blend_folder, tmp_path):
    """Registers a copy of the ensemble folder that differs by `name`; its version."""

    def make(name="first", report=PASSED):
        return register_copy(ensemble_folder, tmp_path / name, blend_folder, report)

    return make


def register_copy(ensemble, folder, blend, report=PASSED):
    """Register a copy of an ensemble, made at `folder`, whose name is all that differs."""
    from ranzcr.registry import registry
    from ranzcr.tracking import context

    if not folder.exists():
        shutil.copytree(ensemble, folder)
        (folder / "name.txt").write_text(folder.name)
    own_blend = folder.with_name(f"blend of {folder.name}")
    if not own_blend.exists():
        shutil.copytree(blend, own_blend)
        document = documents.Blend.read(blend)
        document.model_copy(update={"digest": own_blend.name}).write(own_blend)
    told = {"dataset_digest": "d" * 64, "method": "weights", "digest": folder.name}
    with context.ensemble_run({"tiny": 1.0}, **told) as run:
        run.log_metrics({"cv_auc": 0.8, "cv_auc_lo": 0.7, "cv_auc_hi": 0.9})
        return registry.register(folder, own_blend, run.run_id, report).version


@pytest.fixture(scope="session")
def _registered(tmp_path_factory, migrated, ensemble_folder):
    """A registry with three candidates: registering takes a second, so tests copy it."""
    home = tmp_path_factory.mktemp("registered")
    shutil.copy(migrated, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANZCR_HOME", str(home))
        patch.setenv("RANZCR_AUTHOR", "Ada")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        blend = write_blend(home / "blend")
        for name in ("first", "second", "third"):
            register_copy(ensemble_folder, home / name, blend)
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home / "mlflow.db"


@pytest.fixture
def three(tmp_path, monkeypatch, _registered):
    """A journal with candidates 1, 2 and 3, registered by Ada; its client."""
    monkeypatch.setenv("RANZCR_AUTHOR", "Ada")
    return _copy_of(_registered, tmp_path / "home", monkeypatch)


@pytest.fixture(scope="session")
def _filled(tmp_path_factory, migrated):
    """The database of `filled`; writing it takes seconds, so tests copy it."""
    home = tmp_path_factory.mktemp("filled")
    shutil.copy(migrated, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANZCR_HOME", str(home))
        patch.delenv("RANZCR_CODE", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        journal_runs.single("b7v3_001", 0.9, 0.85, 0.94)
        journal_runs.single("kdb3v3_b71_001", 0.91)
        journal_runs.pseudo()
        journal_runs.ensemble({"b7v3_001": 0.25, "kdb3v3_b71_001": 0.75}, 0.92)
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home / "mlflow.db"


@pytest.fixture
def filled(tmp_path, monkeypatch, _filled):
    """A journal with two single models, soft labels and an ensemble; returns its client."""
    return _copy_of(_filled, tmp_path / "home", monkeypatch)


@pytest.fixture
def journal_of(request):
    """A function that writes rows as an importer does, one second apart, and returns their ids.

    It writes to the fixture `filled` if the test uses it, else to the empty `journal`.
    """
    name = "filled" if "filled" in request.fixturenames else "journal"
    client = request.getfixturevalue(name)

    def add(*rows):
        return [row(client, 1000 * second, **values) for second, values in enumerate(rows, 1)]

    return add
