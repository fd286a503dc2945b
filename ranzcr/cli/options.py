"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.", show_default=False)]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: data.batch_size=8. Repeat.")
]
Size = Annotated[int, typer.Option("--size", help="Pixels per side of the image cache.")]
Folds = Annotated[int, typer.Option("--folds", help="Patient-grouped folds.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Go on without unreadable images; lists them in a file.")
]
Tta = Annotated[str | None, typer.Option("--tta", help="flip or none; the model's own if not set.")]
CandidateVersion = Annotated[
    str, typer.Argument(help="Of the candidates, as the list shows it; champion or challenger.")
]
Why = Annotated[str, typer.Option("--why", help="For the record.")]
Gates = Annotated[
    Path | None, typer.Option("--gates", help="YAML of what the gates ask; names what it changes.")
]
MinAuc = Annotated[
    float | None, typer.Option("--min-auc", help="In place of cv.at_least of the gates.")
]
JournalRun = Annotated[str, typer.Argument(help="An experiment, an ensemble or a run id.")]
LabelTable = Annotated[Path, typer.Option("--labels", help="A train.csv with the true labels.")]
