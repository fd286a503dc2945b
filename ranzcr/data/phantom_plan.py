"""Plan the studies of a phantom competition: their patients and labels.

Labels come near the competition's prevalences and near the way they go together; rare ones are
raised so that every fold of a small folder has positives, and are spread over patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ranzcr.competitions import PHANTOM_LABELS

# The competition's positives of 30,083 rows, in label order. A label below RARE_SHARE of the
# studies is raised to it, and to RARE_STUDIES in folders of 24 studies or more.
_REAL_ROWS = 30_083
_REAL_POSITIVES = (79, 1138, 7240, 279, 529, 2748, 4797, 3195, 8460, 21324, 830)
RARE_SHARE = 0.045
RARE_STUDIES = 4
NO_CVC_SHARE = 0.025
TWO_NGT_SHARE = 0.0015
ANNOTATED_SHARE = 0.6  # of the studies with a tube
STUDIES_PER_PATIENT = 9.2  # on average; 1 to 172, long-tailed

SPLITS = ("train", "test")

# Streams of random numbers: each generator is seeded by (seed, stream, split, number), so no study
# depends on how many others were drawn before it.
_PLAN, _PATIENT, _STUDY = range(3)

Rows = dict[str, np.ndarray]  # label -> numbers of the studies that shall have it


@dataclass(frozen=True)
class StudyPlan:
    """The plan of one study before it is drawn."""

    uid: str
    patient: str
    split: str
    wanted: tuple[str, ...]  # labels, one per tube, in label order
    annotated: bool
    patient_seed: tuple[int, ...]
    study_seed: tuple[int, ...]


def plan_studies(studies: int, seed: int, split: str) -> list[StudyPlan]:
    """The studies of one split in table order; train has `studies`, test a quarter of it."""
    stream = SPLITS.index(split)
    count = studies if split == "train" else max(1, round(studies / 4))
    rng = np.random.default_rng([seed, _PLAN, stream])
    patients = _deal_patients(count, rng)
    wanted = _wanted_labels(patients, rng)
    annotated = _choose_annotated(patients, wanted, rng)
    # The last bit tells the splits apart, so no patient is in both.
    names = 2 * rng.choice(2**35, patients.max() + 1, replace=False) + stream
    plans = [
        StudyPlan(
            uid=_study_uid(rng),
            patient=f"{names[patients[row]]:09x}",
            split=split,
            wanted=wanted[row],
            annotated=row in annotated,
            patient_seed=(seed, _PATIENT, stream, int(patients[row])),
            study_seed=(seed, _STUDY, stream, row),
        )
        for row in range(count)
    ]
    assert len({plan.uid for plan in plans}) == count
    return plans


def _study_uid(rng: np.random.Generator) -> str:
    """A UID as the competition's are: a fixed root and 38 digits."""
    return f"1.2.826.0.1.3680043.8.498.{rng.integers(1, 10)}" + "".join(
        map(str, rng.integers(0, 10, 37))
    )


def _deal_patients(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) patient number of each study; a patient's studies lie together.

    Studies per patient are log-normal, cut at 172 and at a fifteenth of all, so that small folders
    keep enough patients to be split by.
    """
    most = int(np.clip(count // 15, 2, 172))
    sizes: list[int] = []
    while sum(sizes) < count:
        drawn = np.exp(rng.normal(np.log(STUDIES_PER_PATIENT) - 0.5, 1.0))
        sizes.append(int(np.clip(round(drawn), 1, most)))
    return np.repeat(np.arange(len(sizes)), sizes)[:count]


def demand(count: int) -> dict[str, int]:
    """Return how many of `count` studies get each label, in label order."""
    least = max(RARE_STUDIES, round(RARE_SHARE * count)) if count >= 24 else max(1, count // 6)
    shares = np.array(_REAL_POSITIVES) / _REAL_ROWS
    wanted = np.clip(np.round(shares * count), least, count).astype(int)
    return dict(zip(PHANTOM_LABELS.names, wanted.tolist(), strict=True))


def _wanted_labels(patients: np.ndarray, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Per study the labels of its tubes, in label order.

    ETT labels exclude each other, NGT labels nearly so, CVC labels do not. An NGT mostly goes with
    an ETT, as in intensive care.
    """
    count = len(patients)
    by_device: dict[str, dict[str, int]] = {}
    for label, number in demand(count).items():
        by_device.setdefault(label.split()[0], {})[label] = number

    rows = _deal_exclusive(by_device["ETT"], rng.random(count), patients, rng)
    intubated = np.isin(np.arange(count), np.concatenate(list(rows.values())))
    rows |= _deal_exclusive(by_device["NGT"], rng.random(count) - 0.6 * intubated, patients, rng)
    _add_second_ngts(rows, list(by_device["NGT"]), count, rng)
    rows |= _deal_cvcs(by_device["CVC"], patients, rng)
    for label, number in by_device["Swan"].items():
        rows[label] = _spread(rng.permutation(count), patients)[:number]

    wanted: list[list[str]] = [[] for _ in range(count)]
    for label in PHANTOM_LABELS.names:
        for row in rows[label]:
            wanted[row].append(label)
    return [tuple(labels) for labels in wanted]


def _spread(order: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """The studies of `order`, a dozen different patients' first."""
    _, firsts = np.unique(patients[order], return_index=True)
    front = np.sort(firsts)[:12]
    return np.concatenate([order[front], np.delete(order, front)])


def _deal_exclusive(
    numbers: dict[str, int], priority: np.ndarray, patients: np.ndarray, rng: np.random.Generator
) -> Rows:
    """Studies for labels that exclude each other, of the lowest `priority` values.

    The rarest label chooses first, so that its studies are of different patients.
    """
    free = rng.permutation(np.argsort(priority)[: sum(numbers.values())])
    rows = {}
    for label in sorted(numbers, key=lambda label: numbers[label]):
        free = _spread(free, patients)
        rows[label], free = free[: numbers[label]], free[numbers[label] :]
    return rows


def _add_second_ngts(rows: Rows, labels: list[str], count: int, rng: np.random.Generator) -> None:
    """Give the second of two NGT labels to a few studies that have the first."""
    for _ in range(round(TWO_NGT_SHARE * count)):
        first, second = rng.choice(labels, 2, replace=False)
        row = rng.choice(np.setdiff1d(rows[first], rows[second]))
        rows[second] = np.append(rows[second], row)


def _deal_cvcs(numbers: dict[str, int], patients: np.ndarray, rng: np.random.Generator) -> Rows:
    """Studies for CVC labels: nearly every study has one, an eighth has two, very few three.

    The commonest label is dealt first. The others share the studies that it left without a line;
    what is then still wanted of them comes as second lines.
    """
    order = rng.permutation(len(patients))
    lined = order[round(NO_CVC_SHARE * len(order)) :]
    common, *rare = sorted(numbers, key=lambda label: -numbers[label])
    rows = {common: lined[: numbers[common]]}
    free = _spread(lined[numbers[common] :], patients)
    share = len(free) / sum(numbers[label] for label in rare)
    for label in rare:
        alone = min(round(share * numbers[label]), len(free))
        first, free = free[:alone], free[alone:]
        others = _spread(rng.permutation(np.setdiff1d(lined, first)), patients)
        rows[label] = np.concatenate([first, others[: numbers[label] - alone]])
    return rows


def _choose_annotated(
    patients: np.ndarray, wanted: list[tuple[str, ...]], rng: np.random.Generator
) -> set[int]:
    """Studies whose tubes are outlined: a share of those with tubes, one per patient at least."""
    tubed = rng.permutation([row for row, labels in enumerate(wanted) if labels])
    _, firsts = np.unique(patients[tubed], return_index=True)
    rest = np.delete(tubed, firsts)
    more = max(0, round(ANNOTATED_SHARE * len(tubed)) - len(firsts))
    return {int(row) for row in (*tubed[firsts], *rest[:more])}
