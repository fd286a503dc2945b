"""Fixtures for the journal and the registry: a real MLflow on SQLite, hand-made folders."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import contextmanager

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


@contextmanager
def filling(home, migrated, **variables):
    """Copy the empty database into `home`, to be filled in the block; yields the file."""
    file = shutil.copy(migrated, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANZCR_HOME": str(home), **variables}.items():
            patch.setenv(name, value)
        patch.delenv("RANZCR_CODE", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield file
    with sqlite3.connect(file) as connection:  # tests copy this file alone
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.fixture
def journal_copy(tmp_path, monkeypatch):
    """Return a function that copies a database into the test's home and returns its client."""
    from ranzcr.tracking import server

    def copy(database):
        (tmp_path / "home").mkdir()
        shutil.copy(database, tmp_path / "home" / "mlflow.db")
        monkeypatch.setenv("RANZCR_HOME", str(tmp_path / "home"))
        monkeypatch.delenv("RANZCR_CODE", raising=False)
        return server.connect()

    return copy


@pytest.fixture
def journal(journal_copy, migrated):
    """Return the client of an empty journal for one test."""
    return journal_copy(migrated)


@pytest.fixture(scope="session")
def ensemble_folder(tmp_path_factory):
    """An ensemble folder as export writes it: one ONNX model that predicts the mean grey / 255."""
    folder = tmp_path_factory.mktemp("export") / "ensemble"
    labels = ["ETT - Abnormal", "CVC - Normal"]
    (folder / "tiny").mkdir(parents=True)
    _grey_model(folder / "tiny" / "fold0.onnx", len(labels))
    member = {"experiment": "tiny", "weight": 1.0, "image_size": 32, "tta": "none"}
    ensemble = {
        "labels": labels,
        "members": [{**member, "models": ["tiny/fold0.onnx"]}],
        "dataset_digest": "d" * 64,
        "blend_digest": "b" * 64,
        "cache_size": 32,
        "prevalence": [0.1, 0.2],
        "method": "weights",
    }
    (folder / "ensemble.json").write_text(json.dumps(ensemble))
    parity = {"max_abs_diff": {"tiny/fold0.onnx": 1e-6}, "limit": 1e-4}
    (folder / "parity.json").write_text(json.dumps(parity))
    return folder


def _grey_model(path, labels):
    """Write a model: (B, 1, S, S) image of 0..255 -> (B, L) probability."""
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
    """Write the files of `blend_folder` into a new folder."""
    folder.mkdir()
    schema = LabelSchema(("ETT - Abnormal", "CVC - Normal"))
    rng = np.random.default_rng(0)
    uids = np.array([f"study{index}" for index in range(40)])
    values = rng.random((40, 2), dtype=np.float32)
    origin = Origin(experiment="tiny", dataset_digest="d" * 64, members=("tiny",))
    Predictions(uids, values, schema, origin).write(folder / "oof.parquet")
    blend = {
        **{"method": "weights", "weights": {"tiny": 1.0}, "members": ["tiny"]},
        **{"cv_auc": 0.8, "cv_auc_lo": 0.7, "cv_auc_hi": 0.9},
        **{"dataset_digest": "d" * 64, "digest": "b" * 64, "run_id": ""},
    }
    (folder / "blend.json").write_text(json.dumps(blend))
    return folder


@pytest.fixture
def candidate(journal, ensemble_folder, blend_folder, tmp_path):
    """Return a function that registers a copy of the ensemble, changed by `name`."""

    def register(name="first", report=PASSED):
        return register_copy(ensemble_folder, tmp_path / name, blend_folder, report)

    return register


def register_copy(ensemble, folder, blend, report=PASSED):
    """Register a copy of an ensemble in `folder` that differs by its name; return its version."""
    from ranzcr.registry import registry
    from ranzcr.tracking import context

    if not folder.exists():
        shutil.copytree(ensemble, folder)
        (folder / "name.txt").write_text(folder.name)
    blend_copy = folder.with_name(f"blend of {folder.name}")
    if not blend_copy.exists():
        shutil.copytree(blend, blend_copy)
        document = documents.Blend.read(blend)
        document.model_copy(update={"digest": blend_copy.name}).write(blend_copy)
    settings = {"dataset_digest": "d" * 64, "method": "weights", "digest": folder.name}
    with context.ensemble_run({"tiny": 1.0}, **settings) as run:
        run.log_metrics({"cv_auc": 0.8, "cv_auc_lo": 0.7, "cv_auc_hi": 0.9})
        return registry.register(folder, blend_copy, run.run_id, report).version


@pytest.fixture(scope="session")
def _registered(tmp_path_factory, migrated, ensemble_folder):
    """A registry with three candidates: registering takes a second, so tests copy it."""
    home = tmp_path_factory.mktemp("registered")
    with filling(home, migrated, RANZCR_AUTHOR="Ada") as file:
        blend = write_blend(home / "blend")
        for name in ("first", "second", "third"):
            register_copy(ensemble_folder, home / name, blend)
    return file


@pytest.fixture
def three(journal_copy, monkeypatch, _registered):
    """Return the client of a journal with candidates 1, 2 and 3, registered by Ada."""
    monkeypatch.setenv("RANZCR_AUTHOR", "Ada")
    return journal_copy(_registered)


@pytest.fixture(scope="session")
def _filled(tmp_path_factory, migrated):
    """The database of `filled`; writing it takes seconds, so tests copy it."""
    with filling(tmp_path_factory.mktemp("filled"), migrated) as file:
        journal_runs.single("b7v3_001", 0.9, 0.85, 0.94)
        journal_runs.single("kdb3v3_b71_001", 0.91)
        journal_runs.pseudo()
        journal_runs.ensemble({"b7v3_001": 0.25, "kdb3v3_b71_001": 0.75}, 0.92)
    return file


@pytest.fixture
def filled(journal_copy, _filled):
    """Return the client of a journal with two single models, soft labels and an ensemble."""
    return journal_copy(_filled)


@pytest.fixture
def journal_of(request):
    """Return a function that writes rows as an importer does, one second apart, for their ids.

    It writes to the fixture `filled` if the test uses it, else to the empty `journal`.
    """
    name = "filled" if "filled" in request.fixturenames else "journal"
    client = request.getfixturevalue(name)

    def add(*rows):
        return [row(client, 1000 * second, **values) for second, values in enumerate(rows, 1)]

    return add
