"""Preparation of a training: check settings, folder, gate and data, and build the networks."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from switchrecon.config import Config, load_config
from switchrecon.core.device import PROCESSOR, set_up
from switchrecon.core.messages import stage
from switchrecon.data.piles import TrainingData, read_training_data
from switchrecon.methods.methods import Method, find_method, with_method_settings
from switchrecon.nets.builder import check_network
from switchrecon.nets.discriminator import check_side
from switchrecon.runs.card import Gate
from switchrecon.runs.checkpoint import begun_by
from switchrecon.runs.folder import check_folder
from switchrecon.scans.files import ScanInput
from switchrecon.training.batches import Batches
from switchrecon.training.checks import check_estimate, check_goes_together, describe_data, idle_settings
from switchrecon.training.gate import through_gate
from switchrecon.training.ranks import ALONE, Ranks
from switchrecon.training.start import Start, read_start
from switchrecon.training.state import State, build_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A prepared training: method, settings, data and device.

    Attributes
    ----------
    method, config
        The method after its gate, and the settings with the method's values.
    asked
        The method before its gate.
    gate
        Decision of the gate; None for methods without one.
    data
        The piles.
    device
        Device to compute on.
    ranks
        The processes that share each step.
    processes
        Number of processes that the run was started with: a step has ``batch_size`` samples for each, even if the run
        is continued with another number.
    start
        The run whose weights are the first weights; None: weights are drawn.
    """

    method: Method
    config: Config
    asked: Method
    gate: Gate | None
    data: TrainingData
    device: torch.device
    ranks: Ranks = ALONE
    processes: int = 1
    start: Start | None = None


def make_ready(
    config: Config,
    full: Sequence[ScanInput],
    sub: Sequence[ScanInput],
    folder: Path | None,
    resume: bool = False,
    cache: Path | None = None,
    device: torch.device = PROCESSOR,
    ranks: Ranks = ALONE,
    start: str | Path | None = None,
) -> Ready:
    """Check the settings and the folder, decide the gate, and read the piles; see :func:`train`.

    Only the first process checks the folder; it fills the cache before the others read from it.
    """
    folder = folder if ranks.first else None
    if resume and folder is not None and (folder / "config.yaml").is_file():
        config = config.over(load_config(folder / "config.yaml"))  # settings that are not given now do not change
    first = None if start is None else read_start(start)
    if first is not None:
        config = first.settings(config)
    config = ranks.told(config)
    method = find_method(config)
    config = with_method_settings(config, method)
    check_network(config)
    check_estimate(method, config)
    if folder is not None:
        check_folder(folder, config, resume)
    processes = ranks.told((begun_by(folder) if resume and folder is not None else None) or ranks.size)
    gate, asked = None, method
    if method.gated:
        method, gate = through_gate(method, config, full, sub)
    with ranks.in_turn() if cache is not None else nullcontext():
        data = read_training_data(full, sub, config, method.pairing, cache)
    return Ready(method, config, asked, gate, data, device, ranks, processes, first)


def begin(ready: Ready, quiet: bool = False) -> tuple[State, Batches]:
    """Build the networks, refuse combinations that make no sense, report the data, and return what the loop needs.

    With ``quiet`` nothing is reported.
    """
    stage("building the networks")
    method, config, data, ranks = ready.method, ready.config, ready.data, ready.ranks
    share = ranks.share(config.batch_size * ready.processes)
    state = build_state(method, config, ready.device)
    if ready.start is not None:
        ready.start.give(state.players.full, bool(state.players.generator.adaptive), config)
    check_goes_together(method, config, data, state.players.full)
    for sentence in idle_settings(ready.asked, config, data) if not quiet else ():
        logger.warning(sentence)
    if method.cast.discriminator is not None:
        check_side(*data.matrix)
    set_up(ready.device, config.precision)
    batches = Batches(data, config, method.pairing, ready.device, share)
    state.ranks, state.part = ranks, share.part
    if ranks.size > 1:
        weights = sum(float(p.detach().double().abs().sum()) for p in state.players.parameters())
        ranks.check_same((config, data.fingerprint(), weights), "settings, scans or initial weights")
    if not quiet and ranks.size > 1:
        logger.info("%s processes share each step's %s slices of each pile", ranks.size, share.total)
    if not quiet:
        describe_data(data, config)
    return state, batches
