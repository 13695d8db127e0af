"""Training: one loop for every method."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from switchrecon.config import Config
from switchrecon.core.device import describe
from switchrecon.core.messages import PROGRESS
from switchrecon.errors import RunError
from switchrecon.methods.methods import Method
from switchrecon.methods.step import Batch
from switchrecon.physics.intensity import from_network
from switchrecon.runs.card import Card, Trial, make_card
from switchrecon.runs.folder import is_finished, open_folder
from switchrecon.runs.log import LogEntry, MemoryLog, RunLog, read_log
from switchrecon.runs.progress import TrainingProgress, stages_on
from switchrecon.runs.user_code import keep_source, remember_code
from switchrecon.scans.files import ScanInput, several
from switchrecon.training.batches import Batches, steps_of
from switchrecon.training.budget import check_length, within
from switchrecon.training.guard import (
    KEEP_EVERY,
    Diverged,
    Guard,
    Health,
    check_numbers,
    watch_discriminator,
    watch_generator,
)
from switchrecon.training.leaving import Leaving
from switchrecon.training.optim import learning_rate, set_learning_rate
from switchrecon.training.ranks import joined
from switchrecon.training.ready import Ready, begin, make_ready
from switchrecon.training.state import Measured, State, check_alike, restore_state, save_state
from switchrecon.training.trial import try_out
from switchrecon.training.updates import phases_of, step_taker
from switchrecon.training.watch import Watch

logger = logging.getLogger(__name__)

LOG_EVERY = 25  # most steps between writes of the log, which has every step
LOG_SECONDS = 5.0  # most seconds between them, for slow steps
FIRST_CHECKPOINT, NEXT_CHECKPOINT = (
    90.0,
    900.0,
)  # seconds, at most, until the first one of a training and between others


def run_steps(
    state: State,
    method: Method,
    config: Config,
    batches: Batches,
    log: RunLog | MemoryLog,
    folder: Path,
    card: Card,
    console: Console | None = None,
) -> None:
    """Run the training loop: in every step the updates of the method's phases, for example D → G → H.

    If a step diverges, the run continues from the last good state with half the learning rate. Ctrl-C ends it after the
    current step, with a checkpoint.

    Raises
    ------
    RunError
        If the run has diverged too often; the last checkpoint stays.
    KeyboardInterrupt
        After Ctrl-C.
    """
    steps = batches.steps
    pending: list[tuple[int, float, Measured[Tensor]]] = []
    written, unsaved = log.elapsed(), False
    trial: Trial | None = None
    guard, health, ranks = Guard(state), Health(entry.losses for entry in log.take_past()), state.ranks
    take = step_taker(state.device, config.calls, batches.pixels, ranks.size == 1)
    watch = Watch(folder, state, batches) if ranks.first else None
    due = log.elapsed() + FIRST_CHECKPOINT
    with TrainingProgress(config.method, state.step, steps, console) as progress, Leaving() as leaving:
        while state.step < steps:
            step = state.step
            # Nothing that the run computes depends on these.
            late, slow = log.elapsed() > due, log.elapsed() - written > LOG_SECONDS
            asked, late, slow = ranks.told((leaving.asked, late, slow))
            timely = asked or late
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
                if last and ranks.first:
                    trial = try_out(state, method, batches)
                    if trial.failed:
                        state.course.remark(state.step, trial.sentence)
                pending.append((step, rate, found))
                if keeping:
                    watch_generator(state, batch, config, steps)
                if keeping or timely or slow or len(pending) == LOG_EVERY:
                    progress.losses = write_losses(log, batches, pending, state, method, health)
                    pending, written = [], log.elapsed()
                sound = (keeping or timely) and (health.calm or last)
                if sound and keeping:
                    guard.keep(state)
            except Diverged as problem:
                guard.roll_back(state, problem, step + 1)
                health = Health(entry.losses for entry in log.rewind(state.step))
                if watch is not None:
                    watch.rewind(state.step)
                pending, unsaved = [], False
                continue
            if watch is not None:
                watch.look(log.elapsed(), last)
                progress.quality = watch.quality
            progress.advance(state.step)
            if state.step % config.picture_every == 0:
                write_pictures(log, state, batch, config)
            unsaved = unsaved or saving or last or timely
            if sound and unsaved:  # a checkpoint waits while a loss is outside its past
                unsaved, due = False, log.elapsed() + NEXT_CHECKPOINT
                check_alike(state)
                if ranks.first:
                    save_state(folder, state, card.model_copy(update={"seconds": log.elapsed(), "trial": trial}))
            if asked and not last:
                how = "a loss has just jumped, so that the last checkpoint stays" if unsaved else "saved"
                PROGRESS.info(f"{folder}: stopped after step {state.step:,}: {how}")
                raise KeyboardInterrupt


def write_losses(
    log: RunLog | MemoryLog,
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
    entries: list[LogEntry] = []
    counts = [len(found.values) for *_, found in pending]
    numbers = torch.stack([value.reshape(()) for *_, found in pending for value in found.values])
    parts = numbers.cpu().split(counts)  # one transfer
    for (step, rate, found), part in zip(pending, parts, strict=True):
        measured = found.having(part.tolist())
        check_numbers(measured, step + 1)
        health.look(measured.losses, step + 1)
        values = measured.losses
        watch_discriminator(state, method, step + 1, values)
        entries.append(
            LogEntry(
                step=step + 1,
                epoch=batches.epoch(step),
                learning_rate=rate,
                seconds=round(log.elapsed(), 3),
                losses=values,
                remarks=tuple(sentence for at, sentence in state.course.remarks if at == step + 1),
            )
        )
    log.write(entries)
    return values


def write_pictures(log: RunLog | MemoryLog, state: State, batch: Batch, config: Config) -> None:
    """Add x, G(x) and y of this step to the TensorBoard events, if these are written."""
    if log.events is None:
        return
    with torch.no_grad():
        shown = {"x": batch.x, "G(x)": state.players.to_full(batch.x, batch.encoding_x), "y": batch.y}
    for name, image in shown.items():
        magnitude = from_network(image, config.representation)[0].abs().clamp(0, 1)
        log.picture(name, magnitude.cpu().numpy(), state.step)


def train(
    config: Config,
    full: ScanInput | Sequence[ScanInput],
    sub: ScanInput | Sequence[ScanInput],
    folder: str | Path,
    resume: bool = False,
    cache: Path | None = None,
    device: str | None = None,
    console: Console | None = None,
    budget: float | None = None,
    start: str | Path | None = None,
) -> Path:
    """Train a method and write its run folder.

    Parameters
    ----------
    config
        All settings.
    full, sub
        The two piles: paths, or scans in memory, one or several; see :func:`switchrecon.data.piles.read_training_data`.
    folder
        Folder for ``model.safetensors``, ``config.yaml``, ``log.jsonl`` and ``checkpoints/``.
    resume
        Continue the run in ``folder``, also to more steps than planned. If there is none, start it; if it is finished,
        only check the scans.
    cache
        Folder for prepared slices; see :mod:`switchrecon.data.cache`. None: all slices stay in memory.
    device
        See :func:`switchrecon.core.device.find_device`.
    console
        Console for a progress bar; None: lines are logged.
    budget
        Seconds for all of it, instead of ``steps`` and ``epochs``; a run that is resumed keeps its steps.
    start
        A run (a folder, or ``switchrecon:NAME``) to start from: its weights are the first weights, and its method and
        network are used if none are set; see :mod:`switchrecon.training.start`. Not for a run that is resumed.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    SwitchreconError
        If settings, files or folders cannot be used; nothing has been written then.
    """
    started = time.perf_counter()
    full, sub, folder = several(full), several(sub), Path(folder)
    if budget is not None:
        check_length(config)
    with joined(device) as (chosen, ranks):
        shown = console if ranks.first else None
        with stages_on(shown):
            ready = make_ready(config, full, sub, folder, resume, cache, chosen, ranks, start)
            if budget is not None and ready.config.steps is None:
                ready = within(ready, budget, time.perf_counter() - started)
        _train(ready, folder, resume, shown)
    return folder


def _train(ready: Ready, folder: Path, resume: bool, console: Console | None) -> None:
    """Run the remaining steps; the first process writes the results."""
    method, config, data, gate, ranks = ready.method, ready.config, ready.data, ready.gate, ready.ranks
    remember_code(config)
    steps = steps_of(config, data, config.batch_size * ready.processes)
    if ranks.told(resume and ranks.first and is_finished(folder, config, data, steps)):
        logger.info(
            "%s: the run is finished after %d steps; give more to train on, such as --set steps=%d",
            folder,
            steps,
            2 * steps,
        )
        return
    with stages_on(console):
        state, batches = begin(ready)
    first = None if ready.start is None else ready.start.card
    with open_folder(folder, config, resume) if ranks.first else nullcontext():
        card = make_card(config, method, state.players, batches.steps, data, gate, first, ready.processes)
        asked = card.began_from
        card = restore_state(folder, state, card)
        if first is not None and card.began_from != asked:
            asked_for = "" if ready.start is None else ready.start.run
            raise RunError(
                f"{folder}: holds a run that did not begin from {asked_for}; leave --from out to continue it"
            )
        past = ranks.told(read_log(folder) if ranks.first else [])
        log = RunLog(folder, past, state.step) if ranks.first else MemoryLog(past, state.step)
        if ranks.first:
            if first is not None and state.step == 0:
                save_state(folder, state, card)  # so that the run can be resumed without the run that it started from
            keep_source(folder, config)
        try:
            run_steps(state, method, config, batches, log, folder, card, console)
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"{folder}: the memory of {describe(ready.device)} does not suffice; the last checkpoint stays; choose "
                "a smaller matrix, batch_size or width, fewer trainings at once, or --device cpu"
            ) from error
        finally:
            log.close()
