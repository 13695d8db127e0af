"""Runs that are compared in one evaluation: load and check them, and describe them for reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from switchrecon.config import SHARED_SETTINGS, Config
from switchrecon.core.sentences import count
from switchrecon.errors import DataError, RunError
from switchrecon.evaluation.records import RunFacts
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.runs.card import Card
from switchrecon.runs.log import read_log
from switchrecon.runs.pretrained import run_folder
from switchrecon.scans.scan import Scan

CURVE_POINTS = 400


@dataclass(frozen=True)
class Run:
    """A run folder, and the reconstructor that was loaded from it."""

    folder: Path
    reconstructor: Reconstructor

    @property
    def card(self) -> Card:
        """The card in the model file."""
        return self.reconstructor.card


def load_runs(
    folders: Sequence[Path], device: str | None = None, trust_code: bool = False, called: Sequence[str] = ()
) -> dict[str, Run]:
    """Name each run: as it is called, or by its method, or by its folder where two runs share a method.

    Raises
    ------
    RunError
        If a run is missing, or the runs differ in matrix, masks or phase.
    """
    runs = [
        Run(run_folder(folder), Reconstructor.load(folder, device=device, trust_code=trust_code)) for folder in folders
    ]
    methods = [run.card.config.method for run in runs]
    first = runs[0]
    names: dict[str, Run] = {}
    for number, (run, method) in enumerate(zip(runs, methods, strict=True)):
        configs = run.reconstructor.config, first.reconstructor.config
        compared = {name: tuple(getattr(config, name) for config in configs) for name in SHARED_SETTINGS}
        compared["matrix"] = (run.card.matrix, first.card.matrix)
        for setting, (ours, theirs) in compared.items():
            if ours != theirs:
                raise RunError(
                    f"{run.folder} and {first.folder} differ in {setting}: {ours} and {theirs}; evaluate them apart"
                )
        name = method if methods.count(method) == 1 else run.folder.resolve().name
        name = called[number] if called else name
        if name in names:
            raise RunError(f"{run.folder} and {names[name].folder} would both be called '{name}'; rename one")
        names[name] = run
    return names


def check_unseen(scan: Scan, runs: dict[str, Run]) -> None:
    """Refuse a reference whose subject a run was trained on.

    Raises
    ------
    DataError
        If there is one; the message names the file and the run.
    """
    for run in runs.values():
        if run.card.knows(scan.subject):
            raise DataError(f"{scan.path}: its subject was used to train {run.folder}; choose other references")


def data_statement(config: Config, runs: dict[str, Run]) -> list[str]:
    """Sentences that say what the runs learned from."""
    sentences = []
    for name, run in runs.items():
        for domain, pile in run.card.data.items():
            what = "fully sampled" if domain == "full" else "undersampled"
            synthetic = f", {pile.synthetic} of them with synthetic k-space" if pile.synthetic else ""
            sentences.append(
                f"{name}: {count(pile.slices, f'{what} slice')} of {count(pile.subjects, 'subject')} "
                f"({count(pile.scans, 'scan')}"
                f"{synthetic}), {pile.dropped} near-empty slices dropped."
            )
        if run.card.gate is not None:
            sentences.append(f"{name}: {run.card.gate}.")
        if run.card.trial is not None and run.card.trial.failed:
            sentences.append(f"{name}: {run.card.trial.sentence}.")
    sentences.append("No reference subject was used for training.")
    piles = [pile for run in runs.values() for pile in run.card.data.values()]
    if config.phase == "none" and any(pile.synthetic for pile in piles):
        sentences.append(
            "Synthetic k-space without phase is conjugate symmetric, which no scanner offers: figures are optimistic."
        )
    return sentences


def describe_run(name: str, run: Run) -> RunFacts:
    """Return a run for the report: settings, sizes, time, and loss curves thinned to a few hundred points."""
    card = run.card
    log = read_log(run.folder)
    log = log[:: max(1, len(log) // CURVE_POINTS)]
    objectives = list(log[-1].losses) if log else []
    losses = {"step": [e.step for e in log]} | {o: [e.losses.get(o) for e in log] for o in objectives}
    return RunFacts(
        name=name,
        config=card.config.model_dump(mode="json"),
        parameters=card.parameters,
        steps=card.step,
        seconds=card.seconds,
        losses=losses,
        learning_rate=[e.learning_rate for e in log],
    )
