"""Divergence and collapse: nothing that is not finite stays in the weights, and what happened is said and logged."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from switchrecon.config import Config
from switchrecon.errors import RunError
from switchrecon.methods.methods import METHODS, find_method
from switchrecon.methods.step import Batch, Step
from switchrecon.physics.operators import Encoding
from switchrecon.runs.checkpoint import load_checkpoint, load_model
from switchrecon.runs.log import LogEntry, read_log
from switchrecon.training.batches import Batches
from switchrecon.training.guard import Diverged, check_numbers
from switchrecon.training.state import Measured, State, build_state
from switchrecon.training.train import train
from switchrecon.training.updates import update
from tests.conftest import blob_images, tiny_config

MakeScan = Callable[..., Path]
Piles = tuple[list[Path], list[Path]]


@pytest.fixture
def piles(make_scan: MakeScan) -> Piles:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


def short(*assignments: str) -> Config:
    """A run with one copy in memory on its way, at step 50, and checkpoints before and after faults at step 56."""
    return tiny_config("method=simulated", "steps=64", "checkpoint_every=20", "batch_size=1", *assignments)


def content(run: Path) -> tuple[dict[str, bytes], list[LogEntry]]:
    """Every tensor of the newest checkpoint and of the model, and the log without its times."""
    found = load_checkpoint(run / "checkpoints")
    assert found is not None
    tensors = found[0] | {f"model.{n}": t for n, t in load_file(run / "model.safetensors").items()}
    log = [entry.model_copy(update={"seconds": 0.0}) for entry in read_log(run)]
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, log


def setbacks_in(log: list[LogEntry]) -> dict[int, list[str]]:
    """What the log says of divergence, by step."""
    said = {entry.step: [t for t in entry.remarks if "diverged" in t] for entry in log}
    return {step: texts for step, texts in said.items() if texts}


def faulty_batches(monkeypatch: pytest.MonkeyPatch, at: int, while_setbacks: int, state: list[State]) -> None:
    """One pixel of x and y is NaN at a step, until the run has returned so many times to an earlier state."""
    sound = Batches.batch

    def batch(self: Batches, step: int) -> Batch:
        found = sound(self, step)
        if step + 1 == at and state[-1].course.setbacks < while_setbacks:
            for image in (found.x, found.y):
                image[0, 0, 3, 3] = math.nan
        return found

    monkeypatch.setattr(Batches, "batch", batch)


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The states of all trainings to come."""
    made: list[State] = []

    def build(*arguments: object) -> State:
        made.append(build_state(*arguments))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr("switchrecon.training.ready.build_state", build)
    return made


def test_a_batch_that_is_no_number_costs_a_few_steps_and_half_the_learning_rate(
    tmp_path: Path,
    piles: Piles,
    states: list[State],
    monkeypatch: pytest.MonkeyPatch,
    messages: list[str],
) -> None:
    faulty_batches(monkeypatch, at=56, while_setbacks=2, state=states)
    run = train(short(), *piles, tmp_path / "run")
    log = content(run)[1]
    assert [entry.step for entry in log] == list(range(1, 65))
    assert all(math.isfinite(v) for entry in log for v in entry.losses.values())
    for name, tensor in load_file(run / "checkpoints" / "step-00000064.safetensors").items():
        assert tensor.isfinite().all(), name
    said = "training diverged: supervised is nan at step 56; went back to step 50 and halved the learning rate ({} of 3"
    remarks = setbacks_in(log)
    assert list(remarks) == [51]
    assert [text.startswith(said.format(n)) for n, text in enumerate(remarks[51], 1)] == [True, True]
    assert "\n".join(messages).count("warning: training diverged") == 2
    rates = {entry.step: entry.learning_rate for entry in log}
    plain = [1e-4 + (1e-7 - 1e-4) * step / 63 for step in (49, 50)]
    assert rates[50] == pytest.approx(plain[0])
    assert rates[51] == pytest.approx(plain[1] / 4)


def test_numbers_that_are_looked_at_some_steps_later_end_in_the_same_bits(
    tmp_path: Path, piles: Piles, states: list[State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, which an update does not wait for: what was moved by a NaN is undone before anything is kept."""
    faulty_batches(monkeypatch, at=56, while_setbacks=2, state=states)
    at_once = content(train(short(), *piles, tmp_path / "at-once"))

    def later(measured: Measured[float], step: int | None = None) -> None:
        if step is not None:
            check_numbers(measured, step)

    monkeypatch.setattr("switchrecon.training.updates.check_numbers", later)
    assert content(train(short(), *piles, tmp_path / "later")) == at_once


def test_a_run_with_setbacks_resumes_to_the_same_bits(
    tmp_path: Path, piles: Piles, states: list[State], monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_batches(monkeypatch, at=56, while_setbacks=2, state=states)
    straight = content(train(short(), *piles, tmp_path / "straight"))
    for stop_at in (45, 55, 62):

        class Stop(Exception):
            pass

        def stopping(*arguments: object, at: int = stop_at) -> object:
            if states[-1].step + 1 == at:
                raise Stop
            return update(*arguments)  # type: ignore[arg-type]

        run = tmp_path / f"stopped-{stop_at}"
        with monkeypatch.context() as patched:
            patched.setattr("switchrecon.training.updates.update", stopping)
            with pytest.raises(Stop):
                train(short(), *piles, run)
        assert content(train(short(), *piles, run, resume=True)) == straight


def test_a_run_that_diverges_again_and_again_stops_with_a_report_and_its_last_checkpoint(
    tmp_path: Path,
    piles: Piles,
    states: list[State],
    monkeypatch: pytest.MonkeyPatch,
    run_cli: Callable[..., tuple[int, str, str]],
) -> None:
    faulty_batches(monkeypatch, at=56, while_setbacks=9, state=states)
    run = tmp_path / "run"
    settings = [f"--set={n}={v}" for n, v in short().model_dump(exclude_unset=True).items() if n != "mask"]
    code, out, err = run_cli("train", "--full", piles[0][0], "--sub", piles[1][0], "--out", run, *settings)
    assert code == 2
    assert (out + err).count("halved the learning rate") == 3
    assert "error: training diverged: supervised is nan at step 56, after 3 returns to an earlier state" in err
    assert [entry.step for entry in read_log(run)] == list(range(1, 51))
    found = load_checkpoint(run / "checkpoints")
    assert found is not None
    assert found[1]["step"] == 40
    assert all(tensor.isfinite().all() for tensor in found[0].values())


def test_a_gradient_that_is_no_number_moves_nothing(piles: Piles) -> None:
    """The loss is finite, and only one entry of one gradient is not."""
    config = tiny_config("method=cyclegan")
    method, state = find_method(config), build_state(find_method(config), config)
    before = {n: p.detach().clone() for n, p in state.players.named_parameters()}
    random = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 2, 64, 64, generator=random) - 0.5
    mask = torch.ones(1, 64, 64, dtype=torch.bool)
    images = Step(state.players, Batch(x, y, torch.zeros(1, 64), Encoding(mask), Encoding(mask)))
    phase = method.phases[0]
    weight = next(state.players.discriminator.parameters())  # type: ignore[union-attr]

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        spoilt = gradient.clone()
        spoilt.view(-1)[0] = math.inf
        return spoilt

    weight.register_hook(spoil)
    with pytest.raises(Diverged, match="the gradient of the discriminator is inf"):
        update(images, phase, state.optimizers[phase.group])
    assert all(torch.equal(p, before[n]) for n, p in state.players.named_parameters())


@pytest.mark.parametrize("method", ["switchable", "simulated", "joint"])
@pytest.mark.parametrize("rate", ["0.1", "1e30"])
def test_a_far_too_high_learning_rate_never_leaves_numbers_that_are_not_finite(
    tmp_path: Path, piles: Piles, method: str, rate: str
) -> None:
    config = tiny_config(f"method={method}", f"learning_rate={rate}", "steps=20", "checkpoint_every=5", "cascades=2")
    run = tmp_path / "run"
    try:
        train(config, *piles, run)
    except RunError as error:
        assert "training diverged" in str(error)  # noqa: PT017 - it may also come through
    for file in (run / "checkpoints").glob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())
    assert all(math.isfinite(value) for entry in read_log(run) for value in entry.losses.values())


def test_constant_and_zero_slices_do_no_harm(tmp_path: Path) -> None:
    """Instance norm sees no variance; slices of zeros are dropped."""
    for folder, subject in (("full", 1), ("sub", 2)):
        images = np.abs(blob_images(subject, 4)).astype(np.float32)
        images[1], images[2] = 1, 0
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / f"subject{subject}.npy", images)
    config = tiny_config("steps=6", "empty_below=0", "checkpoint_every=6")
    run = train(config, [tmp_path / "full"], [tmp_path / "sub"], tmp_path / "run")
    card = load_model(run / "model.safetensors")[1]
    assert {name: (pile.slices, pile.dropped) for name, pile in card.data.items()} == dict.fromkeys(
        ("full", "sub"), (3, 1)
    )
    assert all(t.isfinite().all() for t in load_file(run / "checkpoints" / "step-00000006.safetensors").values())


def test_a_change_of_threads_is_said_and_logged(
    tmp_path: Path, piles: Piles, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    run = train(short("steps=4", "checkpoint_every=2"), *piles, tmp_path / "run")
    for file in (run / "checkpoints").glob("step-00000004.*"):
        file.unlink()
    (run / "model.safetensors").unlink()
    monkeypatch.setattr("switchrecon.training.state.machine", lambda device: "another machine")
    train(short("steps=4", "checkpoint_every=2"), *piles, run, resume=True)
    entries = {entry.step: entry.remarks for entry in read_log(run)}
    assert [step for step, remarks in entries.items() if remarks and step < 4] == [3]  # the trial comes after the last
    assert entries[3][0].startswith("continued where the result is not bit-exact: machine ")
    assert entries[3][0].endswith("another machine now")
    assert "warning: continued where the result is not bit-exact" in "\n".join(messages)


def test_the_course_of_a_run_is_plain_data() -> None:
    state = build_state(METHODS["simulated"], tiny_config("method=simulated"))
    state.course.remark(3, "said")
    assert dataclasses.asdict(state.course) == {"setbacks": 0, "quiet": 0, "flat": False, "remarks": [(3, "said")]}


def enormous_batches(monkeypatch: pytest.MonkeyPatch, steps: range, state: list[State]) -> None:
    """References are a thousand times too bright in these steps, until the run has returned to an earlier state."""
    sound = Batches.batch

    def batch(self: Batches, step: int) -> Batch:
        found = sound(self, step)
        if step + 1 in steps and not state[-1].course.setbacks:
            found = dataclasses.replace(found, y=1000 * found.y)
        return found

    monkeypatch.setattr(Batches, "batch", batch)


def test_a_loss_that_leaves_its_past_is_divergence_though_it_is_finite(
    tmp_path: Path, piles: Piles, states: list[State], monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    enormous_batches(monkeypatch, range(53, 200), states)
    config = short("checkpoint_every=60")  # while the loss is outside its past: no checkpoint of that
    straight = train(config, *piles, tmp_path / "run")
    log = content(straight)[1]
    assert [entry.step for entry in log] == list(range(1, 65))
    [[remark]] = setbacks_in(log).values()
    assert remark.startswith("training diverged: supervised is ")
    assert "at step 62; went back to step 50 and halved the learning rate (1 of 3 times)" in remark
    assert max(entry.losses["supervised"] for entry in log) < 10

    class Stop(Exception):
        pass

    def stopping(*arguments: object) -> object:
        if states[-1].step == 61:
            raise Stop
        return update(*arguments)  # type: ignore[arg-type]

    run = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr("switchrecon.training.updates.update", stopping)
        with pytest.raises(Stop):
            train(config, *piles, run)
    assert load_checkpoint(run / "checkpoints") is None
    assert content(train(config, *piles, run, resume=True)) == content(straight)


def test_a_strange_step_is_no_divergence_and_a_checkpoint_waits_for_the_next_calm_one(
    tmp_path: Path, piles: Piles, states: list[State], monkeypatch: pytest.MonkeyPatch
) -> None:
    enormous_batches(monkeypatch, range(58, 61), states)
    run = train(short("steps=104", "checkpoint_every=60"), *piles, tmp_path / "run")
    assert setbacks_in(read_log(run)) == {}
    assert sorted(file.stem for file in (run / "checkpoints").glob("*.json")) == ["step-00000100", "step-00000104"]
