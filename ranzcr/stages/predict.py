"""Trained fold models -> probabilities of a data set's splits, or of a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranzcr.documents import check_dataset
from ranzcr.errors import ConfigError, DataError
from ranzcr.files import hash_file, hash_folder, replacing
from ranzcr.labels import UID, LabelSchema
from ranzcr.predictions import Origin, Predictions
from ranzcr.submission.kernel import ENSEMBLE

if TYPE_CHECKING:
    from ranzcr.data.dataset import Dataset
    from ranzcr.models.checkpoint import Loaded

_FILE_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_VIEWS = ("none", "flip")


@dataclass(frozen=True)
class PredictResult:
    path: Path
    digest: str  # of what was written
    files: tuple[str, ...]  # names below `path`, or its own name


def run(models: Sequence[Path], data: Path, out: Path, *, tta: str | None = None) -> PredictResult:
    """Predict with one or more checkpoint folders.

    Args:
        models: checkpoint folders; several are averaged. Or one ensemble, as export wrote it.
        data: a prepared data set, or a plain folder of images.
        out: with one model and a data set, a folder: oof.parquet (the fold's rows), test.parquet
            and external.parquet if there are such rows. Else a .parquet or .csv file: all
            images of the folder, or the data set's test rows. With an ensemble, which predicts a
            folder of images, `out` may be a folder too and gets submission.csv.
        tta: none or flip; None takes the setting of each model's experiment.

    Raises DataError for models of another data set or other labels, ConfigError if `out` is of the
    wrong kind.
    """
    from ranzcr.models import checkpoint

    if not models:
        raise ValueError("predict needs at least one model")
    if tta is not None and tta not in _VIEWS:
        raise ConfigError(f"tta {tta!r}; expected {' or '.join(_VIEWS)}")
    models, data, out = [Path(model) for model in models], Path(data), Path(out)
    if (models[0] / ENSEMBLE).is_file():
        if len(models) > 1 or tta is not None:
            raise ConfigError(f"{models[0]}: an ensemble has its models and views; give it alone")
        return _predict_ensemble(models[0], data, out)
    loaded = {model: checkpoint.load(model) for model in models}
    schema = _shared_schema(loaded)
    if not (data / "dataset.json").is_file():
        return _predict_images(loaded, schema, data, _as_file(out), tta)
    dataset = _open(data, loaded)
    if len(models) == 1:
        return _predict_fold(loaded[models[0]], dataset, out, tta)
    rows = dataset.rows("test")
    if not len(rows):
        raise DataError(f"{data}: no test rows; give one model, or a folder of images")
    mean = _mean(list(loaded.values()), dataset.images, rows, tta)
    uids = dataset.table[UID].to_numpy()[rows]
    origin = replace(_joint_origin(loaded), split="test", dataset_digest=dataset.digest)
    return _write_file(Predictions(uids, mean, schema, origin), _as_file(out))


def _predict_fold(loaded: Loaded, dataset: Dataset, out: Path, tta: str | None) -> PredictResult:
    if _is_file(out):
        raise ConfigError(f"{out}: one model on a data set writes a folder; give a folder's name")
    metrics, train = loaded.metrics, dataset.rows("train")
    held_out = train[dataset.table["fold"].to_numpy()[train] == metrics.fold]
    splits = {"oof": held_out, "test": dataset.rows("test"), "external": dataset.rows("external")}
    splits = {name: rows for name, rows in splits.items() if len(rows)}
    with replacing(out) as beside:
        beside.mkdir()
        for name, rows in splits.items():
            origin = Origin(
                experiment=loaded.experiment.name,
                fold=metrics.fold,
                seed=metrics.seed,
                split="train" if name == "oof" else name,
                dataset_digest=dataset.digest,
                run_id=metrics.run_id,
            )
            values = _predict(loaded, dataset.images, rows, tta, f"{origin.experiment} {name}")
            uids = dataset.table[UID].to_numpy()[rows]
            Predictions(uids, values, loaded.schema, origin).write(beside / f"{name}.parquet")
    files = tuple(f"{name}.parquet" for name in splits)
    return PredictResult(out, hash_folder(out), files)


def _predict_images(
    loaded: dict[Path, Loaded], schema: LabelSchema, folder: Path, out: Path, tta: str | None
) -> PredictResult:
    """Predict images decoded to the size of the data set that each model was trained on."""
    from ranzcr.inference import folder_images

    paths = folder_images.files(folder)
    by_size: dict[int, list[Loaded]] = {}
    for model in loaded.values():
        by_size.setdefault(model.metrics.cache_size, []).append(model)
    total = np.zeros((len(paths), len(schema)), np.float32)
    for size, group in by_size.items():
        images = folder_images.read(paths, size)
        total += _mean(group, images, np.arange(len(paths)), tta) * (len(group) / len(loaded))
    uids = np.array([path.stem for path in paths])
    origin = replace(_joint_origin(loaded), split="test")
    return _write_file(Predictions(uids, total, schema, origin), out)


def _predict_ensemble(ensemble: Path, folder: Path, out: Path) -> PredictResult:
    from ranzcr.inference import folder_images, runtime

    if (folder / "dataset.json").is_file():
        raise ConfigError(f"{folder}: a data set; an ensemble predicts a folder of images")
    opened = runtime.load(ensemble)
    paths = folder_images.files(folder)
    names = tuple(member["experiment"] for member in opened.members)
    predicted = Predictions(
        np.array([path.stem for path in paths]),
        runtime.predict_files(opened, paths),
        LabelSchema(opened.labels),
        Origin(experiment="+".join(names), split="test", members=names),
    )
    return _write_file(predicted, out if _is_file(out) else out / "submission.csv")


def _mean(
    models: Sequence[Loaded], images_NSS: np.ndarray, rows: np.ndarray, tta: str | None
) -> np.ndarray:
    parts = [_predict(model, images_NSS, rows, tta, model.experiment.name) for model in models]
    mean_NL: np.ndarray = np.mean(parts, axis=0)
    return mean_NL


def _predict(
    model: Loaded, images_NSS: np.ndarray, rows: np.ndarray, tta: str | None, name: str
) -> np.ndarray:
    from ranzcr.inference.predict import predict

    return predict(
        model.network,
        images_NSS,
        rows,
        image_size=model.metrics.image_size,
        tta=model.experiment.tta if tta is None else tta,
        what=f"Predicting {name}",
    )


def _shared_schema(loaded: dict[Path, Loaded]) -> LabelSchema:
    first, *others = loaded.items()
    for path, other in others:
        if other.schema != first[1].schema:
            raise DataError(
                f"{path}: its labels differ from those of {first[0]}; predict them separately"
            )
    return first[1].schema


def _open(data: Path, loaded: dict[Path, Loaded]) -> Dataset:
    """Open the data set. Raises DataError if a model was trained on another one."""
    from ranzcr.data.dataset import Dataset

    dataset = Dataset.open(data)
    for path, model in loaded.items():
        check_dataset(path, model.metrics.dataset_digest, dataset.digest, "train")
    return dataset


def _joint_origin(loaded: dict[Path, Loaded]) -> Origin:
    names = tuple(dict.fromkeys(model.experiment.name for model in loaded.values()))
    return Origin(experiment="+".join(names), members=names if len(names) > 1 else ())


def _is_file(out: Path) -> bool:
    return str(out).endswith(_FILE_SUFFIXES)


def _as_file(out: Path) -> Path:
    if not _is_file(out):
        raise ConfigError(f"{out}: expected a file that ends in {', '.join(_FILE_SUFFIXES)}")
    return out


def _write_file(predictions: Predictions, out: Path) -> PredictResult:
    predictions.write(out)
    return PredictResult(out, hash_file(out), (out.name,))
