"""Fetch a competition folder from another folder, an S3 bucket or Kaggle."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ranzcr.cores import cores
from ranzcr.errors import DataError
from ranzcr.progress import track
from ranzcr.submission.kernel import is_image

TABLES = ("train.csv", "train_annotations.csv", "sample_submission.csv", "corrections.csv")
_FOLDERS = ("train", "test", "external")
_S3_STREAMS = 16  # downloads at a time: they wait, they do not compute


def fetch(source: str, out: Path) -> None:
    """Put the competition's files of `source` into the new folder `out`.

    Args:
        source: a folder, s3://bucket/prefix or kaggle:COMPETITION. What is not of a competition
            folder's layout is left behind.

    Raises DataError if the source does not exist or has no train.csv or no train images.
    """
    if source.startswith("s3://"):
        _from_s3(source, out, belongs)
    elif source.startswith("kaggle:"):
        _from_kaggle(source.removeprefix("kaggle:"), out)
    else:
        _from_folder(Path(source), out)
    if not (out / "train.csv").is_file():
        raise DataError(f"{source}: no train.csv; give a competition folder (train.csv and train/)")
    if not (out / "train").is_dir():
        raise DataError(f"{source}: no images in train/; put train/<StudyInstanceUID>.jpg there")


def fetch_images(source: str, out: Path) -> None:
    """Put the images that lie in `source` itself into the new folder `out`.

    Args:
        source: a folder or s3://bucket/prefix.

    Raises DataError if the source does not exist or has no image.
    """
    if source.startswith("s3://"):
        _from_s3(source, out, lambda name: "/" not in name and is_image(name))
    elif not Path(source).is_dir():
        raise DataError(f"{source}: no such folder; give a folder of images, or s3://...")
    else:
        images = [file for file in sorted(Path(source).iterdir()) if is_image(file.name)]
        _place_all([(file, out / file.name) for file in images], "Copying images")
    if not any(out.iterdir()):
        raise DataError(f"{source}: no .jpg or .png image in it")


def add_external(argument: str, out: Path) -> None:
    """Put a folder of unlabelled images into `out`/external/<name>/.

    Args:
        argument: "path" or "name=path". The patients of its images are read from path/patients.csv
            or path.csv (StudyInstanceUID, PatientID), if there is one.

    Raises DataError if the folder does not exist or has no image.
    """
    name, equals, path = argument.partition("=")
    folder = Path(path if equals else argument)
    name = name if equals else folder.resolve().name
    target = out / "external" / name
    if not name or Path(name).name != name:
        raise DataError(f"external {argument}: {name!r} is not a name; give name=path")
    if target.exists():
        raise DataError(f"external {argument}: there is already one named {name}; give name=path")
    if not folder.is_dir():
        raise DataError(f"external {argument}: no such folder; give a folder of images")
    images = [file for file in sorted(folder.rglob("*")) if is_image(file.name)]
    if not images:
        raise DataError(f"external {argument}: no .jpg or .png image in it")
    _place_all([(file, target / file.name) for file in images], f"Copying {name}")
    for table in (folder / "patients.csv", folder.with_name(f"{folder.name}.csv")):
        if table.is_file():
            _place(table, target.with_name(f"{name}.csv"))
            break


def _from_folder(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; give a folder, s3://... or kaggle:COMPETITION")
    names = sorted(_walk(source))
    _place_all([(source / name, out / name) for name in names], "Copying files")


def _from_s3(source: str, out: Path, wanted: Callable[[str], bool]) -> None:
    """Credentials and endpoint (AWS_ENDPOINT_URL_S3) are boto3's: environment, profile or role."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    try:
        client = boto3.client("s3")
        names = [name for name in _s3_names(client, bucket, prefix) if wanted(name)]

        def download(name: str) -> None:
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, prefix + name, str(target))

        with ThreadPoolExecutor(_S3_STREAMS) as pool:
            for _ in track(pool.map(download, names), "Downloading files", len(names)):
                pass
    except (BotoCoreError, ClientError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{source}: {problem}; check the bucket and your AWS settings") from None


def _s3_names(client: Any, bucket: str, prefix: str) -> Iterator[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Contents", ()):
            yield entry["Key"].removeprefix(prefix)


def _from_kaggle(competition: str, out: Path) -> None:
    """By Kaggle's own command line, which knows the user's token."""
    program = shutil.which("kaggle")
    if program is None:
        raise DataError(
            f"kaggle:{competition}: the kaggle command is not installed; "
            "pip install kaggle, put your token in ~/.kaggle/kaggle.json and run it again"
        )
    downloads = out.with_name(f"{out.name}-kaggle")
    downloads.mkdir(parents=True)
    command = [program, "competitions", "download", competition, "-p", str(downloads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    archives = sorted(downloads.glob("*.zip"))
    if done.returncode or not archives:
        message = " ".join(done.stdout.split())[-200:]
        raise DataError(
            f"kaggle:{competition}: kaggle says: {message}; accept its rules, check the token"
        )
    for archive in archives:
        _extract(archive, out)
    shutil.rmtree(downloads)


def _extract(archive: Path, out: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if belongs(name)]
        for name in track(names, "Extracting files"):
            packed.extract(name, out)


def belongs(name: str) -> bool:
    """Return whether a relative path belongs to a competition folder."""
    parts = name.split("/")
    if ".." in parts or "" in parts:
        return False
    match parts:
        case [table]:
            return table in TABLES
        case ["train" | "test", image]:
            return is_image(image)
        case ["external", table]:
            return table.endswith(".csv")
        case ["external", _, image]:
            return is_image(image)
    return False


def _walk(source: Path) -> Iterator[str]:
    """Relative paths of the competition's files in a folder."""
    for place in (source, *(source / name for name in _FOLDERS), *source.glob("external/*")):
        if not place.is_dir():
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                name = Path(entry.path).relative_to(source).as_posix()
                if entry.is_file() and belongs(name):
                    yield name


def _place_all(pairs: list[tuple[Path, Path]], what: str) -> None:
    with ThreadPoolExecutor(cores()) as pool:
        for _ in track(pool.map(lambda pair: _place(*pair), pairs), what, len(pairs)):
            pass


def _place(file: Path, target: Path) -> None:
    """A hard link where the file system can, else a copy."""
    if target.exists():
        raise DataError(f"{file}: there is already an image named {target.name}; rename one")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)
