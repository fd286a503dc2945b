"""A lineage in any format: printed, written to a file or drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ranzcr.errors import ConfigError, nearest
from ranzcr.files import replacing
from ranzcr.lineage import picture, text
from ranzcr.lineage.graph import Lineage

_TEXTS: dict[str, Callable[[Lineage], str]] = {
    "text": text.tree,
    "dot": text.dot,
    "mermaid": text.mermaid,
}
FORMATS = (*_TEXTS, *picture.FORMATS)


def render(lineage: Lineage, format: str = "text") -> str:
    """Return the lineage as text. Raises ConfigError for an unknown format, and for a picture."""
    if format in picture.FORMATS:
        raise ConfigError(f"--format {format} is a picture; name a file with -o FILE.{format}")
    if format not in _TEXTS:
        raise ConfigError(f"no format {format!r}; {nearest(format, FORMATS)}")
    return _TEXTS[format](lineage)


def write(lineage: Lineage, path: Path, format: str | None = None) -> None:
    """Write or draw the lineage to a file; its suffix decides if `format` is None."""
    format = format or {"gv": "dot", "mmd": "mermaid", "txt": "text"}.get(
        path.suffix[1:], path.suffix[1:]
    )
    if format in picture.FORMATS:
        picture.draw(lineage, path, format)
        return
    content = render(lineage, format)
    with replacing(path) as beside:
        beside.write_text(content, encoding="utf-8")
