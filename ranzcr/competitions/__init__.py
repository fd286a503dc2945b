"""The competition that data and models belong to: one YAML file each.

RANZCR_COMPETITION chooses it, by a packaged name or a YAML file. Its CSV files have their own names
for the columns of ids and groups. They are translated when a file is read or written, so that all
other code knows `UID` and `PATIENT`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ranzcr.labels import PATIENT, UID, LabelSchema
from ranzcr.settings import Catalogue, Settings

if TYPE_CHECKING:
    import pandas as pd

VARIABLE, DEFAULT = "RANZCR_COMPETITION", "ranzcr-clip"


class Competition(Settings):
    """One competition."""

    name: str  # also of its MLflow and KFP experiments and of its production model
    about: str = ""
    id: str  # the column that names an image: train/<id>.jpg
    group: str  # the column whose rows stay in one fold, such as the patient
    slug: str = ""  # on Kaggle
    exclusive: tuple[str, ...] = ()  # label families of which a study has one label at most
    metric: Literal["macro_auc"] = "macro_auc"  # what training, blending and the gates compare
    labels: tuple[str, ...] = ()  # of generated data; other data have those of their train.csv

    @property
    def candidates(self) -> str:
        """The registered model that training writes."""
        return f"{self.name}-candidates"

    def column(self, name: str) -> str:
        """Return the name that a column has in CSV files."""
        return {UID: self.id, PATIENT: self.group}.get(name, name)

    def to_files(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with its columns named as in CSV files."""
        return table.rename(columns={UID: self.id, PATIENT: self.group})

    def from_files(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table of a CSV file with its columns named as in all other code."""
        return table.rename(columns={self.id: UID, self.group: PATIENT})

    def read_csv(self, path: Path | str, **options: Any) -> pd.DataFrame:
        """Read a CSV file as `from_files` names it; ids and groups are text."""
        import pandas as pd

        options = {"dtype": {self.id: str, self.group: str}, **options}
        return self.from_files(pd.read_csv(path, **options))


_COMPETITIONS = Catalogue("competition", Path(__file__).parent, Competition)
load = cache(_COMPETITIONS.load)


def current() -> Competition:
    """Return the competition of RANZCR_COMPETITION. Raises ConfigError for an unknown one."""
    return load(os.environ.get(VARIABLE) or DEFAULT)


PHANTOM_LABELS = LabelSchema(load(DEFAULT).labels)  # in the order of the competition's train.csv
