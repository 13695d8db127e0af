"""Training: one loop for every method."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from switchrecon.config import Calls, Config, Sharing
from switchrecon.core.device import describe, find_device, set_up
from switchrecon.data.cache import find_cache
from switchrecon.data.domains import compare_domains
from switchrecon.data.piles import TrainingData, read_training_data
from switchrecon.errors import ConfigError, DataError, RunError
from switchrecon.methods.methods import Method, Phase, find_method, with_method_settings
from switchrecon.methods.objectives import bypass, cycle, equivariance, held_out_samples, simulated_pairs
from switchrecon.methods.step import Batch, Pass
from switchrecon.nets.discriminator import check_side
from switchrecon.physics.intensity import from_network
from switchrecon.runs.folder import check_folder, is_finished, model_card, open_folder
from switchrecon.runs.log import RunLog, TrainingProgress
from switchrecon.training.batched_calls import Plans
from switchrecon.training.batches import Batches
from switchrecon.training.cuda_graphs import Recorded, Step
from switchrecon.training.guard import (
    GRADIENT,
    KEEP_EVERY,
    Diverged,
    Guard,
    check_numbers,
    gradient_norm,
    watch_discriminator,
    watch_generator,
)
from switchrecon.training.optim import Lookahead, learning_rate, set_learning_rate
from switchrecon.training.state import State, build_state, restore_state, save_state

LOG_EVERY = 25  # steps, at most, between writes of the log; losses of every step are kept
LOG_SECONDS = 5.0  # and seconds, so that slow steps are seen too
SMALL = 128 * 128  # pixels of a batch, up to which calls made together are faster on a processor, too


def update(images: Pass, phase: Phase, optimizer: "torch.optim.RAdam | Lookahead") -> dict[str, Tensor]:
    """One update: minimise the phase's weighted sum of objectives over the parameters of its group alone.

    Returns
    -------
    dict
        Each objective's value before the update, by name, and the norm of the gradient.

    Raises
    ------
    Diverged
        On a processor, if a loss or gradient is not finite; the weights have not moved then.
    """
    values = {objective.__name__: objective(images) for objective in phase.objectives}
    total = torch.stack(
        [weight * v for weight, v in zip(phase.objectives.values(), values.values(), strict=True)]
    ).sum()
    optimizer.zero_grad()
    parameters = list(getattr(images.players, phase.group).parameters())
    # Only these receive a gradient; graphs that later phases share stay as they are.
    total.backward(inputs=parameters, retain_graph=True)
    found = {name: value.detach() for name, value in values.items()} | gradient_norm(phase.group, parameters)
    if parameters[0].device.type == "cpu":
        check_numbers({name: value.item() for name, value in found.items()})
    optimizer.step()
    images.moved(phase.group)
    return found


def take_step(
    state: State, phases: Sequence[Phase], batch: Batch, sharing: Sharing, plans: Plans | None = None
) -> dict[str, Tensor]:
    """One training step: every phase's update in turn, on one batch; returns what :func:`update` does.

    With ``plans``, the images of an update that can be made at the same time go through a network as one batch.
    """
    images = Pass(state.players, batch, [phase.group for phase in phases], sharing)
    plan = plans(phases, batch, sharing) if plans is not None else [()] * len(phases)
    found: dict[str, Tensor] = {}
    for phase, names in zip(phases, plan, strict=True):
        images.make_together(names)
        found |= update(images, phase, state.optimizers[phase.group])
    return found


def step_on(device: torch.device, calls: Calls, pixels: int) -> Step:
    """What takes the steps of a run: :func:`take_step`, recorded once and replayed on a GPU.

    Parameters
    ----------
    device
        Where it is taken.
    calls
        See :class:`switchrecon.config.Config`.
    pixels
        Of a batch's x.
    """
    gpu = device.type == "cuda"
    together = calls == "together" or (calls == "auto" and (gpu or pixels <= SMALL))
    step = partial(take_step, plans=Plans()) if together else take_step
    return Recorded(step) if gpu else step


def run_steps(
    state: State,
    method: Method,
    config: Config,
    batches: Batches,
    log: RunLog,
    folder: Path,
    card: dict[str, Any],
) -> None:
    """The training loop: D → G → H in every step, as the method's phases say.

    Where a step diverges, the run goes on from the last good state with half the learning rate.

    Raises
    ------
    RunError
        If that has happened too often; the last checkpoint stays.
    """
    steps = batches.steps
    pending: list[tuple[int, float, dict[str, Tensor]]] = []
    written = log.elapsed()
    guard = Guard(state)
    take = step_on(state.device, config.calls, config.batch_size * math.prod(batches.data.matrix))
    with TrainingProgress(config.method, state.step, steps) as progress:
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
                found = take(state, phases, batch, config.sharing)
                if step >= config.average_from * steps:
                    state.average.update(state.players.generator)
                state.step = step + 1
                pending.append((step, rate, found))
                if keeping:
                    watch_generator(state, batch, config, steps)
                if keeping or len(pending) == LOG_EVERY or log.elapsed() - written > LOG_SECONDS:
                    progress.losses = write_losses(log, batches, pending, state, method)
                    pending, written = [], log.elapsed()
                if keeping:
                    guard.keep(state)
            except Diverged as problem:
                guard.roll_back(state, problem, step + 1)
                log.rewind(state.step)
                pending = []
                continue
            progress.advance(state.step)
            if state.step % config.picture_every == 0:
                write_pictures(log, state, batch, config)
            if saving or last:
                save_state(folder, state, card | {"seconds": log.elapsed()})


def phases_of(method: Method, config: Config, step: int, steps: int) -> tuple[Phase, ...]:
    """The updates of a step: the method's own, after a warm-up of at most a tenth of the run."""
    warming = bool(method.warm_up) and step < min(config.warm_up, steps // 10)
    return method.warm_up if warming else method.phases


def write_losses(
    log: RunLog,
    batches: Batches,
    pending: list[tuple[int, float, dict[str, Tensor]]],
    state: State,
    method: Method,
) -> dict[str, float]:
    """Log the losses of some steps and return the last ones.

    Raises
    ------
    Diverged
        If one of them is not finite; nothing is logged then.
    """
    entries: list[dict[str, Any]] = []
    numbers = torch.stack(
        [value.reshape(()) for *_, found in pending for value in found.values()]
    ).tolist()  # one transfer
    for step, rate, found in pending:
        values = dict(zip(found, numbers, strict=False))
        del numbers[: len(found)]
        check_numbers(values, step + 1)
        values = {name: value for name, value in values.items() if not name.startswith(GRADIENT)}
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


def train(
    config: Config,
    full: Sequence[str | Path],
    sub: Sequence[str | Path],
    folder: Path,
    resume: bool = False,
    cache: Path | None = None,
    device: str | None = None,
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
        Folder that prepared slices are kept in; see :mod:`switchrecon.data.cache`. None: the environment variable's,
        or all slices stay in memory.
    device
        See :func:`switchrecon.core.device.find_device`.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    SwitchreconError
        For settings, files or folders that cannot be used, before anything is written.
    """
    chosen = find_device(device)
    method = find_method(config)
    config = with_method_settings(config, method)
    check_folder(folder, config, resume)
    gate, asked = None, method
    if method.gated:
        method, gate = through_gate(method, config, full, sub)
    data = read_training_data(full, sub, config, method.pairing, find_cache(cache))
    if resume and is_finished(folder, config, data):
        print(f"{folder}: the run is finished")
        return folder
    check_goes_together(method, config, data)
    for sentence in idle_settings(asked, config, data):
        print(f"warning: {sentence}")
    if method.cast.discriminator is not None:
        check_side(*data.matrix)
    set_up(chosen, config.precision)
    batches = Batches(data, config, method.pairing, chosen)
    describe_data(data, config)
    with open_folder(folder, config, resume):
        state = build_state(method, config, chosen)
        card = model_card(config, method, state.players, batches.steps, data) | ({"gate": gate} if gate else {})
        card = restore_state(folder, state, card)
        log = RunLog(folder, state.step)
        try:
            run_steps(state, method, config, batches, log, folder, card)
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"{folder}: the memory of {describe(chosen)} does not suffice; the last checkpoint stays; choose a "
                "smaller matrix, batch_size or width, fewer trainings at once, or --device cpu"
            ) from error
        finally:
            log.close()
    return folder


def through_gate(
    method: Method, config: Config, full: Sequence[str | Path], sub: Sequence[str | Path]
) -> tuple[Method, dict[str, Any]]:
    """The method as it is if the two piles are alike, and without what would match them if they are not.

    Returns
    -------
    tuple
        The method, and what was decided and why, for the run's model file.
    """
    found: dict[str, Any] = {"asked": config.gate, "open": config.gate == "open"}
    if config.gate == "auto":
        try:
            comparison = compare_domains(full, sub, config)
            found |= {name: comparison[name] for name in ("verdict", "sentence", "auc")}
            found["open"] = comparison["verdict"] == "alike"
        except DataError as error:  # too little to compare; files that cannot be used are refused once more below
            found["sentence"] = str(error)
        print(found["sentence"])
    print(gate_sentence(found))
    return (method if found["open"] else method.closed()), found


def gate_sentence(gate: Mapping[str, Any]) -> str:
    """What the gate decided."""
    return f"gate {'open' if gate['open'] else 'closed'}: G(X) is {'' if gate['open'] else 'not '}matched to Y"


def check_goes_together(method: Method, config: Config, data: TrainingData) -> None:
    """Refuse what would run and mean nothing.

    Raises
    ------
    ConfigError
        Saying what does not go with what.
    """
    objectives = {objective for phase in method.phases for objective in phase.objectives}
    if config.representation == "magnitude" and objectives & {held_out_samples, equivariance}:
        raise ConfigError(
            f"method '{config.method}' needs representation 'complex': magnitudes are not what was measured"
        )
    if held_out_samples in objectives and method.pairing == "simulated":
        raise ConfigError(
            f"method '{config.method}' holds out samples of simulated scans, whose references are known; take an "
            "unpaired, paired or undersampled method for held_out_samples"
        )
    if config.contrast > 0 and "intensity" in config.calibrate:
        raise ConfigError("calibrate 'intensity' would undo contrast; choose one of them")
    if config.contrast > 0 and method.cast.discriminator is not None:
        raise ConfigError(
            f"method '{config.method}' matches G(X) to Y, which must not be shown in random contrasts then; set "
            "contrast to 0, or take a method without a discriminator"
        )
    config.check_consistency(data.coils)
    several = [pile.slices[0].maps is not None for pile in data.piles.values()]
    if simulated_pairs in objectives and several == [False, True]:
        raise ConfigError(
            f"the fully sampled scans have one coil and the undersampled ones several: method '{config.method}' would "
            "simulate pairs that no such scanner measures; give several coils for both, or use self-supervised"
        )
    if data.coils > 1 and config.network != "paper" and objectives & {cycle, bypass}:
        raise ConfigError(
            f"network '{config.network}' with several coils reconstructs measured images alone, but method "
            f"'{config.method}' gives it others; choose network 'paper' or joint"
        )


def idle_settings(method: Method, config: Config, data: TrainingData) -> list[str]:
    """A sentence for each setting that this method or these scans leave without an effect."""
    objectives = {objective for phase in method.phases for objective in phase.objectives}
    idle = {
        "calibrate": bool(config.calibrate) and (simulated_pairs not in objectives or data.sub is None),
        "corruption": (config.corruption.kind == "none") != (config.corruption.level == 0),  # a kind, or a level, alone
        "simulated_mask": config.simulated_mask is not None
        and method.pairing != "simulated"
        and (simulated_pairs not in objectives or data.sub is not None),
        "distortion": config.distortion > 0 and data.full is None,
        "contrast": config.contrast > 0 and data.full is None,
        "gate": config.gate != "auto" and not method.gated,
    }
    return [f"{name} does nothing here, with method '{config.method}'" for name, found in idle.items() if found]


def describe_data(data: TrainingData, config: Config) -> None:
    """Print what was read, once that k-space is synthetic where it is, and masks that differ from the settings."""
    for name, pile in (("fully sampled", data.full), ("undersampled", data.sub)):
        if pile is not None:
            dropped = f", {pile.dropped} near-empty ones dropped" if pile.dropped else ""
            own = f", acceleration {pile.acceleration():.2f}" if pile is data.sub else ""
            print(f"{name}: {len(pile.slices)} slices of {len(pile.subjects)} subjects{dropped}{own}")
    if any(pile.synthetic for pile in data.piles.values()):
        print("k-space is synthetic: computed from magnitude images, so results are optimistic for a scanner")
    if data.sub is not None and data.sub.retrospective < data.sub.scans:
        lines = data.sub.has_lines
        found = data.sub.acceleration()
        if lines != config.mask.kind.endswith("1d") or not 0.8 < found / config.mask.acceleration < 1.25:
            print(
                f"warning: the undersampled scans have {'line' if lines else 'point'} masks of acceleration "
                f"{found:.2f}, but mask.kind is {config.mask.kind} with acceleration {config.mask.acceleration:g}; "
                "sampling consistency for fully sampled images and evaluation use the settings"
            )
