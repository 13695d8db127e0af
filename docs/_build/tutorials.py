"""Tutorials are Python scripts in cells (``# %%``); here they become pages and notebooks."""

import jupytext


def as_page(script: str, name: str) -> str:
    """The script as Markdown, with links to the script and the notebook under the title."""
    title, *cells = jupytext.reads(script, "py:percent").cells
    parts = [
        title.source,
        f"[Notebook]({name}.ipynb){{: download}} · [script]({name}.py){{: download}}",
        *(c.source if c.cell_type == "markdown" else f"```python\n{c.source}\n```" for c in cells),
    ]
    return "\n\n".join(parts)


def as_notebook(script: str) -> str:
    """The script as a Jupyter notebook, without outputs; the same script gives the same notebook."""
    notebook = jupytext.reads(script, "py:percent")
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return jupytext.writes(notebook, "ipynb")
