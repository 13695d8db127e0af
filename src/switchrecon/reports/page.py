"""Self-contained HTML pages from templates: escaped, with their pictures inside, asking for nothing else."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from switchrecon.core.files import write_text
from switchrecon.errors import RunError


def data_uri(png: bytes) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def render(template: str, content: Mapping[str, Any]) -> str:
    """Return a template of the package with its values, escaped."""
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("switchrecon", "templates")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(content)


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
