"""The errors that a user can fix, as a tree:

    RanzcrError            one line: which file or key, what was found, what to do; exit code 2
    ├── ConfigError        an experiment, an override, a command line value
    ├── DataError          a table, an image, a data set, a predictions file
    ├── OutputError        a full disk, a read-only folder, an output path that is taken
    ├── TrackingError      MLflow: unreachable, refused, not found
    ├── ClusterError       Kubeflow Pipelines, Kubernetes: unreachable, refused, not found
    └── PipelineError      a stage of a pipeline failed; names the stage

A caller's mistake is a ValueError, and what cannot happen is an assert; neither belongs here.
"""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class RanzcrError(Exception):
    """A problem that the user can fix; its text is one line."""


class ConfigError(RanzcrError):
    """A setting is unknown, has the wrong type, or contradicts another one."""


class DataError(RanzcrError):
    """A data file is missing, damaged or incomplete."""


class OutputError(RanzcrError):
    """An output cannot be written."""


class TrackingError(RanzcrError):
    """MLflow does not answer, refuses the request, or lacks the run or version."""


class ClusterError(RanzcrError):
    """Kubeflow Pipelines or Kubernetes does not answer, refuses the request, or lacks an object."""


class PipelineError(RanzcrError):
    """A stage of a pipeline failed."""


_OS_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run it again",
    errno.EDQUOT: "the disk quota is used up; free some space and run it again",
    errno.EROFS: "the folder is read-only; choose an output you can write to",
    errno.EACCES: "permission denied; choose a path you can use",
    errno.EPERM: "permission denied; choose a path you can use",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EISDIR: "it is a folder where a file was expected",
    errno.ENOENT: "no such file or folder; check the path",
    errno.ENAMETOOLONG: "the path is too long; choose a shorter one",
}


def from_os_error(error: OSError) -> RanzcrError | None:
    """Return an OutputError for an operating system error that the user can fix, else None."""
    advice = _OS_ADVICE.get(error.errno or 0)
    if advice is None:
        return None
    return OutputError(f"{error.filename or 'output'}: {advice}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean X?" for an unknown word, or list the known ones if none is close."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"


@contextmanager
def one_line(speaker: str) -> Iterator[None]:
    """Print an error that the user can fix as one line on stderr and exit with code 2.

    Args:
        speaker: starts the line: the name of a stage, or of the program.

    Any other error passes through.
    """
    try:
        yield
    except RanzcrError as error:
        _exit(speaker, error)
    except OSError as error:
        fixable = from_os_error(error)
        if fixable is None:
            raise
        _exit(speaker, fixable)


def _exit(speaker: str, error: RanzcrError) -> None:
    print(f"{speaker}: {' '.join(str(error).split())}", file=sys.stderr)
    raise SystemExit(2) from None
