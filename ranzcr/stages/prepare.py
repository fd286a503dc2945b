"""Competition folder -> prepared data set: validated, dealt into folds, images cached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr.cores import cores
from ranzcr.data import cache, competition, dataset, overview, twins
from ranzcr.data.competition import CompetitionFolder
from ranzcr.data.folds import assign_folds
from ranzcr.documents import SkippedImage, SkippedImages
from ranzcr.errors import ConfigError, DataError, OutputError
from ranzcr.files import hash_file, hash_json, replacing
from ranzcr.labels import PATIENT, UID
from ranzcr.progress import track
from ranzcr.stages import ingest

_DEALING = 2  # raise it when the same content gets other folds, so that they are dealt again


@dataclass(frozen=True)
class PrepareResult:
    """The data set at `path` and its number of images by split."""

    path: Path
    digest: str
    train: int
    test: int
    external: int
    skipped: int
    joined: list[list[str]]  # the PatientIDs of each person who has more than one


@dataclass(frozen=True)
class _Options:
    size: int
    folds: int
    seed: int
    skip_bad: bool


def run(
    folder: Path | str,
    out: Path | str,
    *,
    size: int = 512,
    folds: int = 5,
    seed: int = 0,
    skip_bad: bool = False,
) -> PrepareResult:
    """Prepare the competition in `folder`; `out` becomes the data set.

    Nothing is written if `out` already is the result of the same content and options.

    Args:
        size: S of the image cache, pixels per side.
        folds: K; patients stay whole, and those who share an X-ray count as one.
        skip_bad: leave out images that are missing or damaged and list them in
            `out`/skipped.csv; otherwise the first one is a DataError.

    Raises DataError for a bad table or image, ConfigError for too many folds, OutputError if
    `out` is something else.
    """
    folder, out = Path(folder), Path(out)
    options = _Options(size, folds, seed, skip_bad)
    _refuse_other_output(out)
    with _naming_the_source(folder):
        source = competition.read(folder)
        if not skip_bad:
            _refuse_missing_images(source)
        if not _is_done(source, out, options):
            with replacing(out) as beside:
                _build(source, beside, options)
    description = dataset.DatasetDescription.read(out)
    splits = {split: description.counts[split] for split in dataset.SPLITS}
    return PrepareResult(
        out,
        description.digest,
        **splits,
        skipped=description.skipped,
        joined=description.joined,
    )


@contextmanager
def _naming_the_source(folder: Path) -> Iterator[None]:
    """Name the user's own file in errors, if `folder` is a copy that ingest made."""
    try:
        yield
    except DataError as error:
        source = ingest.source_of(folder)
        raise DataError(str(error).replace(str(folder), source)) from None


def _build(source: CompetitionFolder, out: Path, options: _Options) -> None:
    out.mkdir()
    present = source.studies[source.studies["file"] != ""].reset_index(drop=True)
    files = [source.path / file for file in present["file"]]
    facts = cache.build(out / "images.npy", files, options.size, skip_bad=options.skip_bad)
    read = pd.concat([present, facts], axis=1)
    good = facts["problem"] == ""
    bad = pd.concat([source.missing.assign(problem="there is no such image"), read[~good]])
    if len(bad):
        rows = bad[[UID, "file", "problem"]].to_numpy().tolist()
        images = [SkippedImage(uid=uid, file=file, problem=why) for uid, file, why in rows]
        SkippedImages(images=tuple(images)).write(out / SkippedImages.FILE)
    table = read[good].reset_index(drop=True)
    train = table[table["split"] == "train"]
    if train.empty:
        raise DataError(f"{source.path / 'train'}: none of its images can be read")
    person = twins.joined_patients(np.load(out / "images.npy", mmap_mode="r"), train)
    table["fold"] = np.int8(-1)
    table.loc[train.index, "fold"] = _deal(source, train, person, options)
    dataset.write(
        out,
        table[[UID, *source.schema.names, *dataset.COLUMNS[1:]]],
        source.annotations[source.annotations[UID].isin(table[UID])],
        source.schema,
        folds=options.folds,
        image_size=options.size,
        skipped=len(bad),
        joined=_joined(train[PATIENT], person),
        input=_input_digest(source, facts["sha256"].tolist(), options),
    )
    overview.draw(dataset.Dataset.open(out), out / "overview.png")


def _deal(
    source: CompetitionFolder, train: pd.DataFrame, person: np.ndarray, options: _Options
) -> np.ndarray:
    """Return the fold of each train study; rows of the same `person` stay together."""
    labels = train[list(source.schema.names)].to_numpy()
    try:
        return assign_folds(labels, person, options.folds, options.seed)
    except ConfigError as error:
        if (person == train[PATIENT]).all():
            raise
        raise ConfigError(f"{error} (patients who share an X-ray count as one)") from None


def _joined(patients: pd.Series, person: np.ndarray) -> list[list[str]]:
    """Return the PatientIDs of each person who has more than one."""
    ids = patients.groupby(person).unique()
    return [sorted(several) for several in ids if len(several) > 1]


def _is_done(source: CompetitionFolder, out: Path, options: _Options) -> bool:
    """Return whether `out` is the complete result of this content and these options."""
    if not out.exists():
        return False
    try:
        dataset.Dataset.open(out)
        stored = dataset.DatasetDescription.read(out).input
    except DataError:
        return False
    files = [source.path / file for file in source.studies["file"] if file]
    return stored == _input_digest(source, _hash_files(files), options)


def _hash_files(files: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(cores()) as pool:
        return list(track(pool.map(hash_file, files), "Checking images", len(files)))


def _input_digest(source: CompetitionFolder, sha256: Sequence[str], options: _Options) -> str:
    """Hash everything that decides the result; `sha256` is of each present image, in order."""
    content = {
        "schema_version": dataset.SCHEMA_VERSION,
        "dealing": _DEALING,
        "columns": list(source.studies.columns),
        "studies": source.studies.astype(str).to_numpy().tolist(),
        "annotations": source.annotations.astype(str).to_numpy().tolist(),
        "images": list(sha256),
        "options": asdict(options),
    }
    return hash_json(content)


def _refuse_other_output(out: Path) -> None:
    if not out.exists() or (out / "dataset.json").is_file():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise OutputError(f"{out}: it exists and is not a prepared data set; choose another output")


def _refuse_missing_images(source: CompetitionFolder) -> None:
    missing = source.missing
    if missing.empty:
        return
    first = missing.iloc[0]
    place = source.path / first["split"] / f"{first[UID]}.jpg"
    others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
    raise DataError(
        f"{place}: no such image{others}; add it (.jpg or .png), or leave it out by --skip-bad"
    )
