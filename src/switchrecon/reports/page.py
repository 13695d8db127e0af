"""Self-contained HTML pages from templates: escaped, with their pictures inside, asking for nothing else."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from switchrecon.core.files import write_text
from switchrecon.errors import RunError

FEWEST = 3  # titles that are worth a list


def data_uri(png: bytes) -> str:
    """Return a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def render(template: str, content: Mapping[str, Any]) -> str:
    """Return a template of the package with its values, escaped."""
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("switchrecon", "templates")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return with_contents(environment.get_template(template).render(content))


def with_contents(page: str) -> str:
    """Give a page's titles places to go to, and a list of them where the template asks for it."""
    titles: list[str] = []

    def anchored(match: re.Match[str]) -> str:
        titles.append(match[1])
        return f'<h2 id="part-{len(titles)}">{match[1]}</h2>'

    page = re.sub(r"<h2>([^<]*)</h2>", anchored, page)
    links = "".join(f'<li><a href="#part-{number}">{title}</a></li>' for number, title in enumerate(titles, 1))
    listed = f'<nav class="contents" aria-label="Contents"><ul>{links}</ul></nav>' if len(titles) >= FEWEST else ""
    return page.replace("<!--contents-->", listed, 1)


def write_page(file: Path, template: str, content: Mapping[str, Any]) -> Path:
    """Render a template of the package into a file, complete or not at all, and return the file.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    try:
        write_text(file, render(template, content))
    except OSError as error:
        raise RunError(f"{file}: cannot be written ({error.strerror or error})") from error
    return file
