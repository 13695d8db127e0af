"""What ``make docs`` adds to the pages: files of the project's top folder, tables made from data, and notebooks."""

import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from tables import TABLES
from tutorials import as_notebook, as_page

ROOT = Path(__file__).parents[2]
ADDED = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
TOP = {"README.md": "index.md", **{name: name.lower() for name in ADDED}}
"""Pages of the top folder, and where they stand on the site."""

MARK = re.compile(r"^<!-- table: (\S+) -->$", re.MULTILINE)
TOP_LINK = re.compile(rf"\]\((?:\.\./)*({'|'.join(map(re.escape, TOP))})")
FENCE = re.compile(r"^(```\w+) title=(\S+)$", re.MULTILINE)
SCRIPTS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
TUTORIAL = re.compile(rf"\]\(([\w./-]*)\b({'|'.join(script.stem for script in SCRIPTS)})\.py\)(?!\{{)")
MERMAID = re.compile(r"^```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)


SECTIONS = {"how-to": "How to", "explanation": "Understand", "reference": "Look up"}
"""Where a page that mkdocs.yml does not name is shown, by its folder; others under Evidence."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show every page: those that mkdocs.yml does not name stand at the end of their section."""
    sections: dict[str, Any] = {name: inside for part in config.nav or [] for name, inside in part.items()}
    named = str(config.nav)
    for file in sorted((ROOT / "docs").rglob("*.md")):
        page = file.relative_to(ROOT / "docs").as_posix()
        if f"'{page}'" not in named:
            sections[SECTIONS.get(page.split("/")[0], "Evidence")].append(page)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top folder, and a page and a notebook for each tutorial."""
    for name in ADDED:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, TOP[name], content=MERMAID.sub("", text)))
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        files.append(File.generated(config, f"tutorials/{script.stem}.md", content=as_page(text, script.stem)))
        files.append(File.generated(config, f"tutorials/{script.stem}.ipynb", content=as_notebook(text)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in tables, and lead links to scripts and files of the top folder to their pages."""
    up = "../" * (len(PurePosixPath(page.file.src_uri).parts) - 1)
    linked = TOP_LINK.sub(lambda found: f"]({up}{TOP[found[1]]}", markdown)
    linked = TUTORIAL.sub(r"](\1\2.md)", linked)
    linked = FENCE.sub(lambda found: f'{found[1]} title="{found[2]}"' if "." in found[2] else found[1], linked)
    return MARK.sub(lambda found: TABLES[found[1]](), linked)
