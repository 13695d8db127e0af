"""What a report shows of a run: settings, networks, curves, scores and pictures over time."""

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml

from switchrecon import __version__
from switchrecon.core.durations import duration
from switchrecon.core.sentences import count
from switchrecon.core.yaml_text import load_yaml
from switchrecon.evaluation.records import RunFacts
from switchrecon.reports import figures
from switchrecon.reports.curves import Panel, curves_figure
from switchrecon.reports.lead import Lead, Next, command, place
from switchrecon.reports.page import data_uri
from switchrecon.reports.reading import picture, reading
from switchrecon.runs.card import Card
from switchrecon.runs.checkpoint import load_model
from switchrecon.runs.log import read_log
from switchrecon.runs.scores import Score, read_scores

PICTURE: Final = "progress.png"  # as training writes it
KEPT: Final = "progress"
MOST_PICTURES: Final = 8
PILES: Final = {"full": "fully sampled", "sub": "undersampled"}


def run_report(folder: Path) -> dict[str, Any]:
    """The content of a run's report.

    Parameters
    ----------
    folder
        With ``config.yaml`` and ``log.jsonl``; and, once there is one, the model and what
        :mod:`switchrecon.training.watch` has seen.

    Raises
    ------
    RunError
        If one of its files is damaged.
    """
    with reading(folder / "config.yaml") as file:
        config = load_yaml(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not a mapping of settings")
    model = folder / "model.safetensors"
    card = load_model(model)[1] if model.is_file() else None
    with reading(folder / "log.jsonl") as file:
        log = read_log(file.parent)
        objectives = dict.fromkeys(name for entry in log for name in entry.losses)
        losses: dict[str, Any] = {n: [entry.losses.get(n) for entry in log] for n in objectives}
        facts = RunFacts(
            name=str(config.get("method", folder.name)),
            config=config,
            parameters=card.parameters if card is not None else {},
            steps=log[-1].step if log else 0,
            seconds=log[-1].seconds if log else None,
            losses={"step": [entry.step for entry in log]} | losses,
            learning_rate=[entry.learning_rate for entry in log],
        )
        runs = [run_content(facts)]
        remarks = [f"Step {entry.step:,}: {remark}." for entry in log for remark in entry.remarks]
    scores = read_scores(folder)
    versions = dict(card.versions) if card is not None else {}
    here = {"switchrecon": __version__, "torch": version("torch"), "numpy": version("numpy")}
    return {
        "title": f"Training run {folder.resolve().name}",
        "lead": _lead(folder, facts, card, scores),
        "scores": _scores(scores),
        "progress": [picture(file, f"step {int(file.stem):,}") for file in _kept(folder)],
        "remarks": remarks,
        "runs": runs,
        "data": _data(card),
        "versions": list((versions or here).items()),
        "machine": card.machine if card is not None else "",
    }


def _lead(folder: Path, facts: RunFacts, card: Card | None, scores: Sequence[Score]) -> Lead:
    steps = f"{facts.steps:,}" + (f" of {card.steps:,}" if card is not None else "") + " steps"
    time = "" if facts.seconds is None else f" in {duration(facts.seconds)}"
    done = [f"{facts.name}: {steps}{time}.", "Nothing has been evaluated yet: this page shows the training alone."]
    good = [_told(scores[-1])] if scores else []
    if card is not None and card.trial is not None:
        good.append(f"At its end, {card.trial.sentence}.")
    last = folder / PICTURE
    shown = None
    if last.is_file():
        caption = "x, G(x) and what of G(x) the scan has not measured, of one slice that the run has learned from."
        shown = {**picture(last, caption), "alt": "Three images side by side."}
    run = place(folder)
    next_steps = [
        Next(
            command("evaluate", run, "--reference", "SCANS", "--out", f"{run}-evaluation"),
            "measure it on fully sampled scans of subjects that it has not seen",
        ),
        Next(command("reconstruct", run, "SCAN", "--out", f"{run}-images"), "reconstruct an undersampled scan"),
    ]
    if card is not None and card.finished:
        more = command("train", "--out", run, "--resume", "--set", f"steps={2 * card.steps}")
        next_steps.append(Next(f"{more} …", "train on, with the same --full and --sub"))
    return Lead(done, good, shown, next_steps)


def _told(score: Score) -> str:
    """A score in a sentence."""
    found = []
    if score.psnr is not None and score.zero_filling is not None:
        found.append(
            f"PSNR {score.psnr:.1f} dB on pairs simulated from fully sampled scans, where zero filling has "
            f"{score.zero_filling:.1f} dB"
        )
    if score.held_out is not None:
        less = "smaller" if score.held_out >= 0 else "larger"
        found.append(
            f"an error {abs(score.held_out):.1f} dB {less} than zero filling's at measured samples that were hidden"
        )
    told = " and ".join(found) or "no score"
    return f"After {count(score.step, 'step')}: {told}; masks were new to it, the subjects were not."


def _scores(scores: Sequence[Score]) -> dict[str, str] | None:
    """The scores over time, drawn."""
    panels = []
    pairs = [score for score in scores if score.psnr is not None and score.zero_filling is not None]
    if pairs:
        steps = [float(score.step) for score in pairs]
        lines = {"run": (steps, [score.psnr or 0.0 for score in pairs])}
        lines["zero filling"] = (steps, [score.zero_filling or 0.0 for score in pairs])
        panels.append(Panel("PSNR on simulated pairs", "step", "dB", lines))
    held = [score for score in scores if score.held_out is not None]
    if held:
        gains = {"held-out samples": ([float(s.step) for s in held], [s.held_out or 0.0 for s in held])}
        panels.append(Panel("Error at held-out samples, below zero filling's", "step", "dB", gains))
    if not panels:
        return None
    caption = (
        "Higher is better. Draws that the run never learns from, of the scans that it learns from: it says whether the "
        "training goes on, not how good the run is on others."
    )
    return {"uri": data_uri(curves_figure(panels)), "alt": "Scores against training steps.", "caption": caption}


def _kept(folder: Path) -> list[Path]:
    """The pictures over time, the first and the last among them."""
    found = sorted(file for file in (folder / KEPT).glob("*.png") if file.stem.isdigit())
    if len(found) <= MOST_PICTURES:
        return found
    return [found[round(k * (len(found) - 1) / (MOST_PICTURES - 1))] for k in range(MOST_PICTURES)]


def _data(card: Card | None) -> list[str]:
    found = []
    for name, pile in card.data.items() if card is not None else ():
        synthetic = f", {pile.synthetic} of them with k-space computed from magnitudes" if pile.synthetic else ""
        measured = f"; acceleration {pile.acceleration:.2f}" if name == "sub" else ""
        slices = count(pile.slices, f"{PILES[name]} slice")
        found.append(
            f"{slices} of {count(pile.subjects, 'subject')} ({count(pile.scans, 'scan')}{synthetic}){measured}."
        )
    return found


def run_content(run: RunFacts) -> dict[str, Any]:
    """What the page shows of one run."""
    curves = dict(run.losses)
    steps = [math.nan if step is None else step for step in curves.pop("step")]
    described = ", ".join(curves)
    if run.learning_rate:
        curves["learning rate"] = run.learning_rate
    width = figures.smoothing_width(len(steps))
    drawn = f"Faint: recorded values; strong: their moving mean over {width} records."
    return {
        "name": run.name,
        "uri": data_uri(figures.loss_figure(steps, curves, exact=("learning rate",))) if steps and described else "",
        "alt": f"Losses of {run.name} against training steps: {described}.",
        "caption": f"{drawn} An axis is logarithmic where all its values are positive.",
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True, width=100),
        "parameters": " · ".join(f"{group} {n:,}" for group, n in run.parameters.items()) or "not known yet",
        "steps": f"{run.steps:,}",
        "time": "not known yet" if run.seconds is None else long_duration(run.seconds),
    }


def long_duration(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
