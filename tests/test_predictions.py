import json

import numpy as np
import pyarrow.parquet
import pytest

from ranzcr import predictions
from ranzcr.labels import LabelSchema
from ranzcr.predictions import Origin, Predictions

SCHEMA = LabelSchema(("a", "b"))


@pytest.fixture
def stored(tmp_path):
    """Write a file with the given origin as its metadata, and read it."""

    def write(**origin):
        part = Predictions(np.array(["s0"]), np.array([[0.5, 1]], np.float32), SCHEMA)
        part.write(tmp_path / "oof.parquet")
        table = pyarrow.parquet.read_table(tmp_path / "oof.parquet")
        metadata = {**table.schema.metadata, b"ranzcr": json.dumps(origin).encode()}
        table = table.replace_schema_metadata(metadata)
        pyarrow.parquet.write_table(table, tmp_path / "oof.parquet")
        return predictions.read(tmp_path / "oof.parquet", SCHEMA).origin

    return write


def test_the_origin_of_a_file_of_version_0_1_is_read(stored):
    old = {"experiment": "x", "seed": 1, "split": "train", "members": []}
    fold = stored(**old, fold="0", dataset_digest="d", run_id="r")
    assert fold == Origin(experiment="x", fold=0, seed=1, dataset_digest="d", run_id="r")
    assert stored(**old, fold="", dataset_digest="", run_id="") == Origin(experiment="x", seed=1)


def test_a_written_origin_is_read_again(tmp_path):
    origin = Origin(experiment="x", fold=0, split="test", members=("a", "b"))
    part = Predictions(np.array(["s0"]), np.array([[0.5, 1]], np.float32), SCHEMA, origin)
    part.write(tmp_path / "p.parquet")
    assert predictions.read(tmp_path / "p.parquet").origin == origin
