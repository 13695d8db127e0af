"""Training: one loop for every method."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from switchrecon.config import Config
from switchrecon.core.device import describe, find_device, set_up
from switchrecon.data.piles import TrainingData, read_training_data
from switchrecon.errors import RunError
from switchrecon.methods.methods import Method, find_method, with_method_settings
from switchrecon.methods.step import Batch
from switchrecon.nets.builder import find_network
from switchrecon.nets.discriminator import check_side
from switchrecon.physics.intensity import from_network
from switchrecon.runs.card import Card, Gate, make_card
from switchrecon.runs.folder import check_folder, is_finished, open_folder
from switchrecon.runs.log import RunLog, TrainingProgress, read_log
from switchrecon.training.batches import Batches
from switchrecon.training.checks import check_goes_together, describe_data, idle_settings
from switchrecon.training.gate import through_gate
from switchrecon.training.guard import (
    KEEP_EVERY,
    Diverged,
    Guard,
    Health,
    check_numbers,
    watch_discriminator,
    watch_generator,
)
from switchrecon.training.optim import learning_rate, set_learning_rate
from switchrecon.training.state import Measured, State, build_state, restore_state, save_state
from switchrecon.training.updates import phases_of, step_taker

logger = logging.getLogger(__name__)

LOG_EVERY = 25  # steps, at most, between writes of the log; losses of every step are kept
LOG_SECONDS = 5.0  # and seconds, so that slow steps are seen too


def run_steps(
    state: State,
    method: Method,
    config: Config,
    batches: Batches,
    log: RunLog,
    folder: Path,
    card: Card,
    console: Console | None = None,
) -> None:
    """The training loop: D → G → H in every step, as the method's phases say.

    Where a step diverges, the run goes on from the last good state with half the learning rate.

    Raises
    ------
    RunError
        If that has happened too often; the last checkpoint stays.
    """
    steps = batches.steps
    pending: list[tuple[int, float, Measured[Tensor]]] = []
    written, unsaved = log.elapsed(), False
    guard, health = Guard(state), Health(read_log(folder))
    take = step_taker(state.device, config.calls, config.batch_size * math.prod(batches.data.matrix))
    with TrainingProgress(config.method, state.step, steps, console) as progress:
        while state.step < steps:
            step = state.step
            rate = learning_rate(config, step, steps) * state.course.rate
            phases = phases_of(method, config, step, steps)
            batch = batches.batch(step)
            last, saving = step + 1 == steps, (step + 1) % config.checkpoint_every == 0
            keeping = last or saving or (step + 1) % KEEP_EVERY == 0
            try:
                for phase in phases:
                    set_learning_rate(state.optimizers[phase.group], rate)
                found = take(state, phases, batch)
                if step >= config.average_from * steps:
                    state.average.update(state.players.generator)
                state.step = step + 1
                pending.append((step, rate, found))
                if keeping:
                    watch_generator(state, batch, config, steps)
                if keeping or len(pending) == LOG_EVERY or log.elapsed() - written > LOG_SECONDS:
                    progress.losses = write_losses(log, batches, pending, state, method, health)
                    pending, written = [], log.elapsed()
                sound = keeping and (health.calm or last)
                if sound:
                    guard.keep(state)
            except Diverged as problem:
                guard.roll_back(state, problem, step + 1)
                health = Health(log.rewind(state.step))
                pending, unsaved = [], False
                continue
            progress.advance(state.step)
            if state.step % config.picture_every == 0:
                write_pictures(log, state, batch, config)
            unsaved = unsaved or saving or last
            if sound and unsaved:  # a checkpoint that is due while a loss is outside its past waits until it is back
                unsaved = False
                save_state(folder, state, card.model_copy(update={"seconds": log.elapsed()}))


def write_losses(
    log: RunLog,
    batches: Batches,
    pending: list[tuple[int, float, Measured[Tensor]]],
    state: State,
    method: Method,
    health: Health,
) -> dict[str, float]:
    """Log the losses of some steps and return the last ones.

    Raises
    ------
    Diverged
        If one of them is not finite, or has left its past; nothing is logged then.
    """
    entries: list[dict[str, Any]] = []
    counts = [len(found.values) for *_, found in pending]
    numbers = torch.stack([value.reshape(()) for *_, found in pending for value in found.values])
    parts = numbers.cpu().split(counts)  # one transfer
    for (step, rate, found), part in zip(pending, parts, strict=True):
        measured = found.having(part.tolist())
        check_numbers(measured, step + 1)
        health.look(measured.losses, step + 1)
        values = measured.losses
        watch_discriminator(state, method, step + 1, values)
        entry = {
            "step": step + 1,
            "epoch": batches.epoch(step),
            "learning_rate": rate,
            "seconds": round(log.elapsed(), 3),
            "losses": values,
        }
        remarks = [sentence for at, sentence in state.course.remarks if at == step + 1]
        entries.append(entry | ({"remarks": remarks} if remarks else {}))
    log.write(entries)
    return values


def write_pictures(log: RunLog, state: State, batch: Batch, config: Config) -> None:
    """Add x, G(x) and y of this step to the TensorBoard events, where there are any."""
    if log.events is None:
        return
    with torch.no_grad():
        shown = {"x": batch.x, "G(x)": state.players.to_full(batch.x, batch.encoding_x), "y": batch.y}
    for name, image in shown.items():
        magnitude = from_network(image, config.representation)[0].abs().clamp(0, 1)
        log.picture(name, magnitude.cpu().numpy(), state.step)


@dataclass(frozen=True)
class Ready:
    """What a training works with: method, settings, data and device.

    Attributes
    ----------
    method, config
        The method as its gate leaves it, and the settings with the method's values.
    asked
        The method before its gate.
    gate
        What the gate decided; None for methods without one.
    data
        The piles.
    device
        Where to compute.
    """

    method: Method
    config: Config
    asked: Method
    gate: Gate | None
    data: TrainingData
    device: torch.device


def make_ready(
    config: Config,
    full: Sequence[str | Path],
    sub: Sequence[str | Path],
    folder: Path | None,
    resume: bool = False,
    cache: Path | None = None,
    device: str | None = None,
) -> Ready:
    """Check the settings and the folder, decide the gate, and read the piles; see :func:`train`."""
    chosen = find_device(device)
    method = find_method(config)
    config = with_method_settings(config, method)
    find_network(config)
    if folder is not None:
        check_folder(folder, config, resume)
    gate, asked = None, method
    if method.gated:
        method, gate = through_gate(method, config, full, sub)
    data = read_training_data(full, sub, config, method.pairing, cache)
    return Ready(method, config, asked, gate, data, chosen)


def begin(ready: Ready) -> tuple[State, Batches]:
    """Build the networks, refuse what does not go together, say what was found, and return what the loop needs."""
    method, config, data = ready.method, ready.config, ready.data
    state = build_state(method, config, ready.device)
    check_goes_together(method, config, data, state.players.full)
    for sentence in idle_settings(ready.asked, config, data):
        logger.warning(sentence)
    if method.cast.discriminator is not None:
        check_side(*data.matrix)
    set_up(ready.device, config.precision)
    batches = Batches(data, config, method.pairing, ready.device)
    describe_data(data, config)
    return state, batches


def train(
    config: Config,
    full: Sequence[str | Path],
    sub: Sequence[str | Path],
    folder: Path,
    resume: bool = False,
    cache: Path | None = None,
    device: str | None = None,
    console: Console | None = None,
) -> Path:
    """Train a method and write its run folder.

    Parameters
    ----------
    config
        All settings.
    full, sub
        Paths of the two piles; see :func:`switchrecon.data.piles.read_training_data`.
    folder
        Gets ``model.safetensors``, ``config.yaml``, ``log.jsonl`` and ``checkpoints/``.
    resume
        Continue the run in ``folder``; start at zero where there is none; only check the scans where it is finished.
    cache
        Folder that prepared slices are kept in; see :mod:`switchrecon.data.cache`. None: all slices stay in memory.
    device
        See :func:`switchrecon.core.device.find_device`.
    console
        Where a bar shows the progress; None: lines are logged.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    SwitchreconError
        For settings, files or folders that cannot be used, before anything is written.
    """
    ready = make_ready(config, full, sub, folder, resume, cache, device)
    method, config, data, chosen, gate = ready.method, ready.config, ready.data, ready.device, ready.gate
    if resume and is_finished(folder, config, data):
        logger.info("%s: the run is finished", folder)
        return folder
    state, batches = begin(ready)
    with open_folder(folder, config, resume):
        card = make_card(config, method, state.players, batches.steps, data, gate)
        card = restore_state(folder, state, card)
        log = RunLog(folder, state.step)
        try:
            run_steps(state, method, config, batches, log, folder, card, console)
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"{folder}: the memory of {describe(chosen)} does not suffice; the last checkpoint stays; choose a "
                "smaller matrix, batch_size or width, fewer trainings at once, or --device cpu"
            ) from error
        finally:
            log.close()
    return folder
