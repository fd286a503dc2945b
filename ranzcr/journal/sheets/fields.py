"""What a column can be in the journal, and where in a run it is kept."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ranzcr.errors import ConfigError, nearest
from ranzcr.labels import COMPETITION
from ranzcr.tracking import delivery, runs

SKIP = "skip"
PERCENT = " %"  # after a score: the column is in percent
PLACES = {"metrics": "number", "params": "text", "tags": "text"}  # the place: how it is read
START, END = "start_time", "end_time"  # milliseconds since 1970
STATUS = "status"  # FAILED or KILLED; a run without it has finished
EXPERIMENT, KIND = "tags.experiment", "tags.kind"
ROW = ""  # the place of what is no part of a run's data

Content = dict[str, str | float]  # what a row or a run holds, by the names of cells


@dataclass(frozen=True)
class Field:
    """A place in a run, and how its cells are read."""

    name: str  # as in mappings and exports
    place: str  # metrics, params, tags or ROW
    key: str
    reading: str  # text, words, note, names, kind, score, number, size, folds, moment, status

    @property
    def cell(self) -> str:
        """The name of its cell in a row: "metrics.cv_auc"."""
        return f"{self.place}.{self.key}" if self.place else self.key


def _fields(place: str, reading: str, **keys: str) -> list[Field]:
    return [Field(name, place, key, reading) for name, key in keys.items()]


def _same(place: str, reading: str, names: str) -> list[Field]:
    return _fields(place, reading, **{name: name for name in names.split()})


# In the order of an export's columns.
FIELDS = {
    field.name: field
    for field in [
        *_same(ROW, "text", "run_key row_id"),
        *_same("tags", "kind", "kind"),
        *_same("tags", "words", "experiment parent"),
        *_fields("params", "words", backbone="cfg.model.backbone", head="cfg.model.head"),
        *_fields("params", "size", image_size="cfg.data.image_size"),
        *_same("tags", "folds", "folds"),
        *_same("tags", "names", "teachers members"),
        *_same("metrics", "score", "cv_auc cv_auc_lo cv_auc_hi cv_auc_folds_mean"),
        *_same("metrics", "number", "cv_auc_folds_std"),
        *_same("metrics", "score", "lb_public lb_private"),
        *_same("metrics", "number", "gpu_hours"),
        *_same("tags", "words", "decision author"),
        *_fields("tags", "note", note=runs.NOTE),
        *_same(ROW, "moment", "start_time end_time"),
        *_same(ROW, "status", "status"),
    ]
}

# What people call them. In a table, a name belongs to the first field here that is still free.
_SYNONYMS = {
    "run_key": "run id",
    "experiment": "tags mlflow run name|experiment name|exp name|exp|sys name|run name|name|run"
    "|model name|ensemble name|ensemble|model|experiment id|exp id|id",
    "row_id": "row id|sys id|id|run id|uuid",
    "kind": "kind|type",
    "parent": "based on|derived from|baseline|parent experiment|pretrained from",
    "backbone": "encoder|architecture|arch|network|net|model arch|model type|timm model|model",
    "head": "pooling|pool|model head|classifier",
    "image_size": "image size|img size|imgsize|input size|size|resolution|res|px",
    "folds": "n folds|num folds|number of folds|folds trained|trained folds",
    "teachers": "teacher|teacher models|pseudo labels from|distilled from",
    "members": "models|ensemble members|member models|components|blend of",
    "cv_auc": "cv|cv auc|cv score|oof auc|oof|cv roc auc|local cv|cv all|val auc|valid auc|auc",
    "cv_auc_lo": "cv lo|cv low|cv lower|ci lo|ci low|ci lower",
    "cv_auc_hi": "cv hi|cv high|cv upper|ci hi|ci high|ci upper",
    "cv_auc_folds_mean": "cv mean|folds mean|fold mean|mean of folds|cv avg|cv average|mean|avg",
    "cv_auc_folds_std": "cv std|folds std|fold std|std of folds|std",
    "lb_public": "public lb|public|public score|public leaderboard|lb score|lb|leaderboard",
    "lb_private": "private lb|private|private score|private leaderboard",
    "gpu_hours": "gpu h|gpuh|gpu time",
    "decision": "verdict|conclusion|outcome",
    "author": "owner|sys owner|user|who|made by|teammate",
    "note": "notes|comment|comments|remark|remarks|description|sys description|what changed|idea",
    "start_time": "date|start|started|created|created at|creation time|sys creation time|timestamp",
    "end_time": "end|ended|finished|finished at",
    "status": "",
}
SYNONYMS = {
    name: [name.replace("_", " "), *filter(None, words.split("|"))]
    for name, words in _SYNONYMS.items()
}

_FOLD = re.compile(r"(?:cv |auc |score |val |oof )*f(?:old)? ?(\d{1,2})(?: cv| auc| score| val)*")
_LABELS = {name.casefold(): name for name in COMPETITION.names}
_RESERVED = ("tags.mlflow.", "tags.run_key", "tags.imported_")


def normalised(header: str) -> str:
    """A header's words: "publicScore" and "Public  score:" are both "public score"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", header))
    return " ".join(re.findall(r"\w+", spaced.replace("_", " ").casefold()))


def of_pattern(header: str) -> str | None:
    """The target of "fold 0", of a label's name, and of a column of an export; None for others."""
    fold = _FOLD.fullmatch(normalised(header))
    if fold:
        return f"auc_fold/{int(fold[1])}"
    if header.casefold() in _LABELS:
        return f"auc/{_LABELS[header.casefold()]}"
    if header.split(".")[0] in PLACES and not header.startswith(_RESERVED) and "." in header:
        return header
    return None


def parse(target: str) -> tuple[Field, bool]:
    """The field that a mapping names, and whether its column is in percent.

    Raises ConfigError for an unknown one.
    """
    name = target.removesuffix(PERCENT)
    percent = name != target
    field = FIELDS.get(name) or _dotted(name)
    if field is None:
        known = [*FIELDS, SKIP, "auc_fold/0", "metrics.NAME", "params.NAME", "tags.NAME"]
        raise ConfigError(f"the journal has no {target!r}; {nearest(target, known)}")
    if percent and field.reading != "score":
        raise ConfigError(f"{target!r}: only an AUC can be in percent; write {name!r}")
    return field, percent


def _dotted(name: str) -> Field | None:
    if re.match(r"auc(_fold)?/.", name):
        return Field(name, "metrics", delivery.safe_name(name), "score")
    place, _, key = name.partition(".")
    if place not in PLACES or not key or name.startswith(_RESERVED):
        return None
    # A field by its long name is read as that field: params.cfg.model.head is head.
    known = next(
        (field for field in FIELDS.values() if (field.place, field.key) == (place, key)), None
    )
    return known or Field(name, place, delivery.safe_name(key), PLACES[place])
