"""The labels of a data set: read from its table, never written down elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ranzcr.errors import DataError

UID = "StudyInstanceUID"
PATIENT = "PatientID"


@dataclass(frozen=True)
class LabelSchema:
    """Label names in file order. Every table, head and predictions file follows this order."""

    names: tuple[str, ...]

    @classmethod
    def from_columns(cls, columns: Iterable[str], *, where: str = "train.csv") -> LabelSchema:
        """The labels are a table's columns other than the UID and the patient, in file order.

        Raises DataError if there is no such column.
        """
        columns = list(columns)
        names = tuple(column for column in columns if column not in (UID, PATIENT))
        if not names:
            raise DataError(
                f"{where}: no label column; found {', '.join(columns) or 'nothing'}. "
                f"Expected {UID}, one column per label, {PATIENT}."
            )
        return cls(names)

    @property
    def families(self) -> dict[str, tuple[int, ...]]:
        """Family -> positions of its labels. The family is the text before " - ".

        "ETT - Abnormal" is of family "ETT"; a label without " - " is a family of its own, except
        a Swan-Ganz label, whose family is "Swan Ganz" as in the competition's papers.
        """
        grouped: dict[str, list[int]] = {}
        for position, name in enumerate(self.names):
            grouped.setdefault(family_of(name), []).append(position)
        return {family: tuple(positions) for family, positions in grouped.items()}

    def __len__(self) -> int:
        return len(self.names)


def family_of(label: str) -> str:
    """Return the device of a label: "CVC - Normal" -> "CVC"."""
    head = label.split(" - ")[0]
    return "Swan Ganz" if head.startswith("Swan Ganz") else head
