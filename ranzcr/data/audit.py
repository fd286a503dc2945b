"""Look for leaks in a prepared data set: what a fold is scored on must not be in its training.

A model of fold k trains on the train studies of the other folds and, with soft labels, on every
test and external study. So test and external studies count as one more fold that all models train
on, and a leak is a patient or an image that occurs in two folds.

`prepare` puts patients who share a train X-ray into one fold (see ranzcr.data.twins), so the audit
finds twins of train images only among test and external images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ranzcr import competitions
from ranzcr.data import twins
from ranzcr.data.dataset import Dataset
from ranzcr.labels import PATIENT, UID


@dataclass(frozen=True)
class AuditFinding:
    """All cases that one check found."""

    check: str
    leak: bool  # False: a warning
    text: str  # one line
    studies: tuple[str, ...]  # UIDs of all studies concerned


@dataclass(frozen=True)
class AuditReport:
    """The findings, leaks first."""

    studies: int  # how many were checked
    findings: tuple[AuditFinding, ...]

    @property
    def leaks(self) -> tuple[AuditFinding, ...]:
        return tuple(finding for finding in self.findings if finding.leak)

    @property
    def clean(self) -> bool:
        """Return whether there is no leak; warnings do not count."""
        return not self.leaks

    @property
    def summary(self) -> str:
        """One line: the number of studies and every leak."""
        if not self.clean:
            return "; ".join(f"{leak.check}: {leak.text}" for leak in self.leaks)
        warnings = len(self.findings)
        noted = f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
        return f"no leak in {self.studies} studies{noted}"


def audit(dataset: Dataset) -> AuditReport:
    """Look for leaks, and for problems that make scores unreliable. Memory: 4 KB per study."""
    table = dataset.table
    is_train = (table["split"] == "train").to_numpy()
    own_fold = is_train & table["fold"].between(0, dataset.folds - 1).to_numpy()
    fold = np.where(own_fold, table["fold"], -1)
    place = np.where(own_fold, "fold " + table["fold"].astype(str), table["split"])
    rows = table.assign(fold=fold, place=place).reset_index(drop=True)
    findings = [finding for check in _CHECKS for finding in check(dataset, rows)]
    findings.sort(key=lambda finding: not finding.leak)
    return AuditReport(len(rows), tuple(findings))


def _repeated_uids(dataset: Dataset, rows: pd.DataFrame) -> Iterator[AuditFinding]:
    repeated = rows[rows[UID].duplicated(keep=False)]
    if len(repeated):
        uid = repeated[UID].iloc[0]
        text = f"{UID} {_and_others(uid, repeated[UID].nunique())} occurs more than once"
        yield _finding("uids", f"{text} ({_places(repeated[repeated[UID] == uid])})", repeated)


def _split_patients(dataset: Dataset, rows: pd.DataFrame) -> Iterator[AuditFinding]:
    split = _in_two_folds(rows[rows[PATIENT] != ""], PATIENT)
    if len(split):
        patient = split[PATIENT].iloc[0]
        text = f"{PATIENT} {_and_others(patient, split[PATIENT].nunique())} is in several folds"
        yield _finding("patients", f"{text} ({_places(split[split[PATIENT] == patient])})", split)


def _copies(dataset: Dataset, rows: pd.DataFrame) -> Iterator[AuditFinding]:
    """Image files that are equal byte by byte."""
    copies = _in_two_folds(rows, "sha256")
    if len(copies):
        first = copies[copies["sha256"] == copies["sha256"].iloc[0]]
        text = f"{_names(first)} are the same image file"
        yield _finding("copies", _and_more(text, copies["sha256"].nunique()), copies)


def _near_duplicates(dataset: Dataset, rows: pd.DataFrame) -> Iterator[AuditFinding]:
    if dataset.image_size < twins.SIDE:
        text = (
            f"not checked: the image cache has {dataset.image_size} px per side, not {twins.SIDE}; "
            "prepare a larger one"
        )
        yield AuditFinding("near-duplicates", False, text, ())
        return
    alike, pair, likeness = _alike(dataset.images, rows)
    if alike.any():
        text = (
            f"{_names(rows.loc[pair])} are the same X-ray (likeness {likeness:.3f}, the limit is "
            f"{twins.LIKENESS})"
        )
        others = int(alike.sum()) - 2
        more = f", and {others} more studies have a twin" if others > 0 else ""
        yield _finding("near-duplicates", text + more, rows[alike])


def _contradictions(dataset: Dataset, rows: pd.DataFrame) -> Iterator[AuditFinding]:
    """Equal image files with different labels."""
    names = list(dataset.schema.names)
    labelled = rows[(rows["split"] == "train") & rows["sha256"].duplicated(keep=False)]
    differs = labelled.groupby("sha256")[names].transform("nunique") > 1
    wrong = labelled[differs.any(axis=1)]
    if len(wrong):
        first = wrong[wrong["sha256"] == wrong["sha256"].iloc[0]]
        label = names[int(differs.loc[first.index[0]].to_numpy().argmax())]
        text = f"{_names(first)} are the same image file with different labels for {label}"
        yield _finding("labels", _and_more(text, wrong["sha256"].nunique()), wrong, leak=False)


def _exclusive_families(dataset: Dataset, rows: pd.DataFrame) -> Iterator[AuditFinding]:
    """Studies with several labels of a family that allows one."""
    for family in competitions.current().exclusive:
        names = [dataset.schema.names[place] for place in dataset.schema.families.get(family, ())]
        several = rows[(rows["split"] == "train") & ((rows[names] > 0).sum(axis=1) > 1)]
        if len(several):
            study = _and_others(several[UID].iloc[0], len(several))
            text = f"train study {study} has several labels of {family}, which allows one"
            yield _finding("labels", text, several, leak=False)


def _uneven_folds(dataset: Dataset, rows: pd.DataFrame) -> Iterator[AuditFinding]:
    without_fold = rows[(rows["split"] == "train") & (rows["fold"] < 0)]
    if len(without_fold):
        text = (
            f"train study {_and_others(without_fold[UID].iloc[0], len(without_fold))} is in no fold"
        )
        yield _finding("folds", text, without_fold, leak=False)
    names = list(dataset.schema.names)
    positives = (rows[names] > 0).groupby(rows["fold"]).sum()
    without = np.argwhere(positives.reindex(range(dataset.folds), fill_value=0).to_numpy() == 0)
    if len(without):
        fold, label = without[0]
        text = f"fold {fold} has no positive of {names[label]}"
        yield AuditFinding("folds", False, _and_more(text, len(without)), ())


_CHECKS: tuple[Callable[[Dataset, pd.DataFrame], Iterator[AuditFinding]], ...] = (
    *(_repeated_uids, _split_patients, _copies, _near_duplicates),
    *(_contradictions, _exclusive_families, _uneven_folds),
)


def _alike(images: np.ndarray, rows: pd.DataFrame) -> tuple[np.ndarray, list[int], float]:
    """Return which rows have a near-duplicate in another fold, the closest pair, its likeness.

    Equal files are left out, because `_copies` reports them.
    """
    fold, file = rows["fold"].to_numpy(), pd.factorize(rows["sha256"])[0]
    alike, best, pair = np.zeros(len(rows), bool), 0.0, [0, 0]
    for one, other, likeness in twins.near_duplicates(images, np.arange(len(rows)), fold):
        differ = file[one] != file[other]
        one, other, likeness = one[differ], other[differ], likeness[differ]
        alike[one] = alike[other] = True
        if len(likeness) and likeness.max() > best:
            best, at = float(likeness.max()), int(likeness.argmax())
            pair = sorted((int(one[at]), int(other[at])))
    return alike, pair, best


def _in_two_folds(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the rows whose `key` occurs in more than one fold."""
    return rows[rows.groupby(key)["fold"].transform("nunique") > 1]


def _finding(check: str, text: str, rows: pd.DataFrame, *, leak: bool = True) -> AuditFinding:
    return AuditFinding(check, leak, text, tuple(dict.fromkeys(rows[UID])))


def _names(rows: pd.DataFrame) -> str:
    """ "1.2.3 (fold 0) and 9.1 (test)"; the first three."""
    named = zip(rows[UID].iloc[:3], rows["place"].iloc[:3], strict=True)
    return " and ".join(f"{uid} ({place})" for uid, place in named)


def _places(rows: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(rows["place"]))


def _and_others(first: str, count: int) -> str:
    return first if count == 1 else f"{first} (and {count - 1} more)"


def _and_more(text: str, count: int) -> str:
    return text if count == 1 else f"{text}, and {count - 1} more"
