"""The CLAIM checklist (Mongan, Moy and Kahn 2020), filled in from a run, an evaluation or a cross-validation.

Items that only the authors of a study can answer are marked for them.
"""

from pathlib import Path

from switchrecon.core.files import write_text
from switchrecon.core.sentences import count, first_problem
from switchrecon.errors import RunError
from switchrecon.evaluation.records import Description, Evaluation
from switchrecon.experiments.claim_items import EVERY_SLICE, ITEMS, YOURS, Facts
from switchrecon.experiments.grid import PLAN, read_plan
from switchrecon.metrics.conventions import explain
from switchrecon.metrics.statistics import LEVEL, RESAMPLES
from switchrecon.metrics.table import COLUMNS
from switchrecon.reports.records import Table
from switchrecon.runs.card import read_card
from switchrecon.runs.checkpoint import load_model

FILE = "claim.md"


def write_claim(folder: Path) -> Path:
    """Write ``claim.md`` into a run's, an evaluation's or a cross-validation's folder and return it.

    Raises
    ------
    RunError
        If the folder is none of these.
    """
    facts = _facts(folder)
    lines = [
        "# CLAIM checklist",
        "",
        "Filled from what the software knows; items in our words after Mongan, Moy and Kahn, Radiology: AI 2020. "
        "Check every line, and fill in those that are marked.",
        "",
        "| | section | item | |",
        "|---:|---|---|---|",
    ]
    for number, (section, item, fill) in enumerate(ITEMS, 1):
        text = (fill(facts) if fill is not None else None) or YOURS
        lines.append(f"| {number} | {section} | {item} | {text.replace('|', chr(92) + '|')} |")
    write_text(folder / FILE, "\n".join(lines) + "\n")
    return folder / FILE


def _facts(folder: Path) -> Facts:
    if (folder / PLAN).is_file():
        return _of_crossval(folder)
    if (folder / "evaluation.json").is_file():
        return _of_evaluation(folder)
    if (folder / "model.safetensors").is_file():
        card = load_model(folder / "model.safetensors")[1]
        trained = f"{count(len(card.subjects), 'subject')} for training; none for testing yet."
        return Facts([card], {}, COLUMNS, card.config.convention, trained, "nothing yet", None)
    raise RunError(f"{folder}: nothing to report on; expected a run, an evaluation or a cross-validation")


def _of_crossval(folder: Path) -> Facts:
    grid = read_plan(folder)
    file = folder / "table.json"
    try:
        table = Table.read(file)
        cards = [
            load_model(cell.folder / "run" / "model.safetensors")[1]
            for cell in grid.cells
            if (cell.folder / "DONE").is_file()
        ]
        values = {
            f"{setting} {name}".strip(): row.values
            for setting, part in table.settings.items()
            for name, row in part.methods.items()
        }
    except (OSError, ValueError, LookupError) as error:
        raise RunError(f"{file}: missing or damaged ({first_problem(error)})") from error
    run, cut = len(grid.recipe.used_folds), grid.recipe.folds
    folds = f"{cut} folds" + (f", {run} of which are run," if run < cut else "")
    partition = (
        f"{grid.subjects} subjects in {folds} in the order of their names; of the subjects that a fold does not test, "
        "the first half is fully sampled and the second undersampled."
    )
    if grid.recipe.data.full_files:
        partition += (
            " The fully sampled scans of unpaired methods come from another domain: those of the first half, and of "
            "subjects that only that domain has."
        )
    statistics = (
        f"Mean and sample standard deviation over folds; {LEVEL:.0%} percentile bootstrap intervals of paired "
        f"differences, {RESAMPLES:,} resamples, clustered by subject; {len(grid.recipe.seeds)} seed(s)."
    )
    count = grid.recipe.test_slices_per_scan
    tested = EVERY_SLICE if count is None else f"{count} slices of each scan, evenly spread"
    return Facts(cards, values, table.all_columns(), table.convention, partition, tested, statistics)


def _of_evaluation(folder: Path) -> Facts:
    try:
        cards = [read_card(card, str(folder)) for card in Description.read(folder / "evaluation.json").cards]
        evaluation = Evaluation.read(folder / "metrics.json")
        statistics = explain(evaluation.convention).rsplit("; ", 1)[1].capitalize()
        return Facts(
            cards,
            evaluation.methods,
            evaluation.all_columns(),
            evaluation.convention,
            f"{count(evaluation.subjects, 'test subject')}; training subjects are refused as tests.",
            f"{evaluation.slices} slices",
            f"{statistics}.",
        )
    except (OSError, ValueError, LookupError) as error:
        raise RunError(
            f"{folder}: an evaluation that is damaged, or older than this version ({first_problem(error)})"
        ) from error
