"""The list of columns in docs/journal.md. Renew it: python tests/journal/column_list.py"""

from pathlib import Path

from ranzcr.journal.columns import SHOWN

PAGE = Path(__file__).parents[2] / "docs/journal.md"
_HEADING = "| column | contents |\n|---|---|\n"


def renewed(page: str) -> str:
    """The page with the present list of columns."""
    before, heading, rest = page.partition(_HEADING)
    after = rest.partition("\n\n")[2]
    lines = "\n".join(f"| `{column.name}` | {column.about} |" for column in SHOWN)
    return f"{before}{heading}{lines}\n\n{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
