"""Plots for the journal, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ranzcr.ensemble.auc import label_aucs

_COLOURS = 10  # of matplotlib's default cycle
_POINTS = 400  # of a curve; more cannot be seen


def draw_roc(
    path: Path, targets_NL: np.ndarray, scores_NL: np.ndarray, labels: Sequence[str]
) -> None:
    """Draw the ROC curves of all labels that have both classes, as PNG."""
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for column, auc in enumerate(label_aucs(targets_NL, scores_NL)):
        if not np.isnan(auc):
            false_rate, true_rate = _roc(targets_NL[:, column], scores_NL[:, column])
            style = "-" if column < _COLOURS else "--"
            legend = f"{labels[column]}  {auc:.3f}"
            axes.plot(false_rate, true_rate, style, linewidth=1, label=legend)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.legend(loc="lower right", fontsize="small", frameon=False)
    _save(figure, path)


def draw_members(path: Path, scores: Mapping[str, tuple[float, float, float]]) -> None:
    """Draw one line per name with its AUC and interval, as PNG.

    Args:
        scores: name -> (AUC, lo, hi); the last one, the blend, gets a colour.
    """
    names, values = list(scores), np.array(list(scores.values()), np.float64)
    figure = Figure(figsize=(6.4, 1.2 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    colours = ["0.4"] * (len(names) - 1) + ["tab:blue"]
    places = np.arange(len(names))[::-1]
    axes.hlines(places, values[:, 1], values[:, 2], colors=colours, linewidth=2)
    axes.scatter(values[:, 0], places, c=colours, zorder=2)
    axes.set_yticks(places, names)
    axes.set_xlabel("out-of-fold macro AUC, 95% interval by patients")
    axes.grid(axis="x", color="0.9")
    _save(figure, path)


def _roc(targets_N: np.ndarray, scores_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates at falling thresholds, from (0, 0) to (1, 1)."""
    labelled = targets_N >= 0
    targets_N, scores_N = targets_N[labelled], scores_N[labelled]
    order = np.argsort(-scores_N, kind="stable")
    positive = targets_N[order] == 1
    ends = np.flatnonzero(np.append(np.diff(scores_N[order]) != 0, True))  # a tie is one step
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, _POINTS).astype(int))]
    true_rate = np.cumsum(positive)[ends] / positive.sum()
    false_rate = np.cumsum(~positive)[ends] / (~positive).sum()
    return np.append(0, false_rate), np.append(0, true_rate)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
