"""The options of `ranzcr pipeline run`, `submit` and `schedule`: one for each pipeline parameter.

A parameter without an option can be given to `submit` and `schedule` as --param KEY=VALUE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Option(NamedTuple):
    """An option of the command line; its value is None, or False for a flag, if it is not given."""

    flag: str
    help: str
    type: Any = str


OPTIONS = {  # parameter of a pipeline -> its option
    "source": Option("--data", "A folder where tasks run, s3://... or kaggle:NAME."),
    "first": Option("--first", "Experiments: A,B."),
    "second": Option("--second", "Experiments that learn from soft labels: C."),
    "dataset": Option("--dataset", "For second-stage: a prepared data set."),
    "soft_labels": Option("--soft-labels", "For second-stage: the output of pseudo."),
    "images": Option("--images", "For predict: a folder or s3://..."),
    "version": Option("--version", "A candidate; champion or challenger."),
    "why": Option("--why", "For promote: the reason, for the ledger."),
    "folds": Option("--folds", "Patient-grouped folds; 5 if not set.", int),
    "seed": Option("--seed", "Of the folds; 0 if not set.", int),
    "image_size": Option("--size", "Of the image cache; the largest needed if not set.", int),
    "externals": Option("--external", "A folder of unlabelled images. Repeat.", list[str]),
    "blend_method": Option("--blend", "weights, mean or subset; weights if not set."),
    "gates": Option("--gates", "YAML of gate settings, over the packaged ones.", Path),
    "min_auc": Option("--min-auc", "In place of cv.at_least of the gates.", float),
    "skip_bad": Option("--skip-bad", "Skip unreadable images; a file lists them.", bool),
}
EXPERIMENTS = ("first", "second")
SOURCES = ("source", "images")
FOLDERS = {"dataset": "dataset_digest", "soft_labels": "soft_digest"}  # and the digest of each
PART_OF = {"min_auc": "gates"}  # an option that changes a part of a parameter


def flag(parameter: str) -> str:
    """Return the option for a parameter, as an error message names it."""
    option = OPTIONS.get(parameter)
    return option.flag if option else f"--param {parameter}=..."
