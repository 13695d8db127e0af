"""Code on pages of the documentation, so that tests run what the pages show."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def code_of(page: str) -> dict[str, str]:
    """The blocks of a page under ``docs`` that have a title, as in `````python title=mine.py``; by title."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


def commands_of(block: str) -> list[list[str]]:
    """The arguments of each ``switchrecon`` command of a block."""
    return [line.split()[1:] for line in block.splitlines() if line.startswith("switchrecon ")]
