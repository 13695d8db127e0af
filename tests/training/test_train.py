"""Training: repeatable, resumable to the bit, and nothing half-written when the request is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from switchrecon import Reconstructor
from switchrecon.config import load_config
from switchrecon.data.piles import read_training_data
from switchrecon.errors import ConfigError, DataError, RunError, SwitchreconError
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.methods.methods import METHODS, WARM_UP, find_method
from switchrecon.methods.step import Step
from switchrecon.physics.fourier import fourier
from switchrecon.physics.masks import draw_mask
from switchrecon.runs.checkpoint import load_checkpoint, load_model, save_checkpoint, save_model
from switchrecon.runs.log import read_log
from switchrecon.training.batches import Batches
from switchrecon.training.state import build_state
from switchrecon.training.train import train
from switchrecon.training.updates import phases_of, update
from tests.conftest import tiny_config

MakeScan = Callable[..., Path]


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[list[Path], list[Path]]:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"step-{step:08d}.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(tmp_path: Path, piles: tuple[list[Path], list[Path]], method: str) -> None:
    folder = train(tiny_config(f"method={method}"), *piles, tmp_path / "run")
    assert {p.name for p in folder.iterdir()} >= {"model.safetensors", "config.yaml", "log.jsonl", "checkpoints"}
    assert load_config(folder / "config.yaml").method == method
    log = read_log(folder)
    assert [entry.step for entry in log] == [1, 2, 3, 4]
    assert all(np.isfinite(list(entry.losses.values())).all() for entry in log)
    assert log[-1]["learning_rate"] == pytest.approx(1e-7)


def test_a_seed_gives_the_same_weights_and_another_one_others(
    tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    runs = [train(tiny_config(f"seed={s}"), *piles, tmp_path / f"run{i}") for i, s in enumerate((0, 0, 1))]
    first, again, other = (weights(run, 4) for run in runs)
    assert same(first, again)
    assert not same(first, other)


def test_resuming_gives_the_weights_and_the_log_of_an_uninterrupted_run(
    tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    """Interrupted after a checkpoint, with later lines already in the log."""
    config = tiny_config("steps=12", "checkpoint_every=4", "lookahead_steps=3")
    straight = train(config, *piles, tmp_path / "straight")
    resumed = tmp_path / "resumed"
    shutil.copytree(straight, resumed)
    for file in (resumed / "checkpoints").glob("step-00000012.*"):
        file.unlink()
    (resumed / "model.safetensors").unlink()
    with (resumed / "log.jsonl").open("a") as log:
        log.write('{"step": 13, "cut o')
    train(config, *piles, resumed, resume=True)
    assert same(weights(straight, 12), weights(resumed, 12))
    assert same(load_file(straight / "model.safetensors"), load_file(resumed / "model.safetensors"))
    logs = [[(e.step, e.learning_rate, e.losses) for e in read_log(run)] for run in (straight, resumed)]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 12


def test_a_training_reads_its_log_once(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    whole = Path.read_text

    def read_text(file: Path, *rest: Any, **how: Any) -> str:
        reads.append(file.name)
        return whole(file, *rest, **how)

    run = train(tiny_config("steps=4", "checkpoint_every=2"), *piles, tmp_path / "run")
    written = (run / "log.jsonl").read_text()
    first = json.loads(written.splitlines()[0])
    assert list(first) == ["step", "epoch", "learning_rate", "seconds", "losses"]  # no remarks, unless there are some
    monkeypatch.setattr(Path, "read_text", read_text)
    train(tiny_config("steps=6", "checkpoint_every=2"), *piles, run, resume=True)
    assert reads.count("log.jsonl") == 1
    assert whole(run / "log.jsonl").startswith(written)


def test_resume_starts_at_zero_and_leaves_a_finished_run_alone(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], messages: list[str]
) -> None:
    run = tmp_path / "run"
    train(tiny_config(), *piles, run, resume=True)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    train(tiny_config(), *piles, run, resume=True)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()} == before
    assert "the run is finished" in "\n".join(messages)


def test_resume_mends_a_missing_or_damaged_model(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    """A run may be stopped between its last checkpoint and its model."""
    run = train(tiny_config(), *piles, tmp_path / "run")
    model = run / "model.safetensors"
    content = model.read_bytes()
    model.unlink()
    train(tiny_config(), *piles, run, resume=True)
    mended = model.read_bytes()
    model.write_bytes(content[:100])
    train(tiny_config(), *piles, run, resume=True)
    assert model.read_bytes() == mended
    assert same(load_file(model), load_model(model)[0])


def test_resume_refuses_other_scans_and_keeps_the_salt(
    tmp_path: Path, make_scan: MakeScan, piles: tuple[list[Path], list[Path]]
) -> None:
    config = tiny_config("steps=6")
    run = train(config, *piles, tmp_path / "run")
    card = load_model(run / "model.safetensors")[1]
    for file in (run / "checkpoints").glob("step-00000006.*"):
        file.unlink()
    (run / "model.safetensors").unlink()
    with pytest.raises(RunError, match="the scans, as this version prepares them, differ from those of the run"):
        train(config, [make_scan("other", 7)], piles[1], run, resume=True)
    train(config, *piles, run, resume=True)
    assert load_model(run / "model.safetensors")[1].salt == card.salt


def test_resume_refuses_a_method_whose_file_has_changed(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from switchrecon.methods.methods import CYCLEGAN as MINE\n")
    config = tiny_config(f"method={file}:MINE")
    run = train(config, *piles, tmp_path / "run")
    (run / "model.safetensors").unlink()
    file.write_text("from switchrecon.methods.methods import ISCL as MINE\n")
    with pytest.raises(RunError, match="the method's file differ"):
        train(config, *piles, run, resume=True)


def test_masks_that_differ_from_the_settings_are_announced(
    tmp_path: Path, make_scan: MakeScan, messages: list[str]
) -> None:
    lines = np.abs(np.arange(64) - 32) < 3
    lines[::5] = True
    piles = [make_scan("full", 1)], [make_scan("sub", 2, mask=lines)]
    train(tiny_config(), *piles, tmp_path / "first")
    assert "warning: the undersampled scans have line masks of acceleration" in "\n".join(messages)
    messages.clear()
    train(tiny_config("mask.kind=random-1d"), *piles, tmp_path / "second")
    assert "line masks" not in "\n".join(messages)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    run = train(tiny_config(), *piles, tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run; add --resume"):
        train(tiny_config(), *piles, run)
    with pytest.raises(RunError, match=r"holds a run with width = 2, asked for 3"):
        train(tiny_config("width=3"), *piles, run, resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"):
        train(tiny_config(), *piles, other, resume=True)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]
    with pytest.raises(RunError, match="is a file"):
        train(tiny_config(), *piles, other / "thesis.txt")


def test_bad_requests_write_nothing(tmp_path: Path, make_scan: MakeScan, piles: tuple[list[Path], list[Path]]) -> None:
    small = [make_scan("small-full", 5, side=48)], [make_scan("small-sub", 6, side=48)]
    cases: list[tuple[list[str], tuple[list[Path], list[Path]], type[SwitchreconError], str]] = [
        (["method=isccl"], piles, ConfigError, "did you mean 'iscl'"),
        ([], small, ConfigError, "at least 64 pixels a side, found 48x48"),
        ([], (piles[0], [tmp_path / "absent"]), DataError, "no such file or folder"),
        ([], (piles[0], piles[0]), DataError, "one subject is in both"),
        (["mask.acceleration=64", "mask.kind=random-1d"], piles, ConfigError, "the centre alone has 5"),
    ]
    for settings, (full, sub), kind, message in cases:
        with pytest.raises(kind, match=message):
            train(tiny_config(*settings), full, sub, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    train(tiny_config("method=supervised"), *small, tmp_path / "run")  # no discriminator, no limit


def test_the_warm_up_moves_the_generator_alone_and_towards_the_identity(
    tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    config = tiny_config("steps=200", "warm_up=20", "checkpoint_every=20", "learning_rate=0.01")
    method = find_method(config)
    assert [phases_of(method, config, step, 200) is WARM_UP for step in (0, 19, 20, 199)] == [True, True, False, False]
    assert phases_of(method, config, 5, 40) is method.phases  # at most a tenth of the run
    assert phases_of(METHODS["supervised"], config, 0, 200) == METHODS["supervised"].phases
    data = read_training_data(*piles, config, method.pairing)
    batches, state = Batches(data, config, method.pairing), build_state(method, config)
    before = {n: p.detach().clone() for n, p in state.players.named_parameters()}
    values = []
    for step in range(20):
        images = Step(state.players, batches.batch(step), ["generator"])
        values.append(update(images, WARM_UP[0], state.optimizers["generator"]).losses["identity"].item())
    assert values[-1] < 0.7 * values[0]
    moved = {n.split(".")[0] for n, p in state.players.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"generator"}


def test_the_model_holds_the_average_over_the_last_part(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    config = tiny_config("steps=4", "checkpoint_every=1", "average_from=0.5", "method=simulated")
    run = train(config, *piles, tmp_path / "run")
    seen = [weights(run, s)["players.generator.full.enter.weight"] for s in (3, 4)]
    assert not torch.equal(*seen)
    model = load_model(run / "model.safetensors")[0]["generator.enter.weight"]
    torch.testing.assert_close(model, (seen[0] + seen[1]) / 2)


def test_the_model_names_no_subject_and_no_file(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    run = train(tiny_config(), *piles, tmp_path / "run")
    for file in run.rglob("*"):
        if file.is_file():
            assert b"subject1" not in file.read_bytes(), file


def test_two_checkpoints_are_kept_and_a_damaged_one_falls_back(
    tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    run = train(tiny_config("steps=6", "checkpoint_every=2"), *piles, tmp_path / "run")
    folder = run / "checkpoints"
    assert sorted(p.stem for p in folder.glob("*.json")) == ["step-00000004", "step-00000006"]
    newest = folder / "step-00000006.safetensors"
    content = bytearray(newest.read_bytes())
    random = np.random.RandomState(0)
    for _ in range(20):
        damaged = bytearray(content)
        damaged[random.randint(len(damaged))] ^= 1 << random.randint(8)
        newest.write_bytes(damaged)
        with pytest.warns(UserWarning, match="checksum does not match"):
            found = load_checkpoint(folder)
        assert found is not None
        assert found[1]["step"] == 4
    (folder / "step-00000004.json").write_text("{}")
    with (
        pytest.warns(UserWarning, match="trying the one before"),
        pytest.raises(RunError, match="all 2 checkpoints are damaged"),
    ):
        load_checkpoint(folder)
    assert load_checkpoint(tmp_path) is None


def test_a_seal_covers_the_description(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, {"a": torch.ones(2)}, {"config": {"seed": 1}})
    file = tmp_path / "step-00000003.json"
    description = json.loads(file.read_text())
    description["config"]["seed"] = 2
    file.write_text(json.dumps(description))
    with pytest.warns(UserWarning, match="trying the one before"), pytest.raises(RunError, match="damaged"):
        load_checkpoint(tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    with pytest.raises(RunError, match="training diverged"):
        train(tiny_config("learning_rate=1e30", "steps=6"), *piles, tmp_path / "run")


@pytest.mark.parametrize("name", ["self-supervised", "joint", "total-variation", "wavelet", "sense"])
def test_methods_that_know_the_physics_run_from_scans_to_metrics(
    name: str, tmp_path: Path, make_scan: Callable[..., Path]
) -> None:
    config = tiny_config(f"method={name}", "cascades=2", "unet_width=2", "iterations=3")
    run = train(config, [make_scan("full", 1)], [make_scan("sub", 2)], tmp_path / "run")
    metrics = evaluate([run], [make_scan("test", 3)], tmp_path / "out")
    assert metrics.methods[name]["psnr"].mean > 5
    again = train(config, [make_scan("full", 1)], [make_scan("sub", 2)], tmp_path / "again")
    first, second = (load_model(folder / "model.safetensors")[1] for folder in (run, again))
    assert first.weights_sha256 == second.weights_sha256
    if name in ("self-supervised", "joint"):  # measured samples are in the result as they were
        kspace = np.load(make_scan("test", 3))
        mask = draw_mask(config.mask, (64, 64), volume="v", index=0)
        image = Reconstructor.load(run)(kspace, mask)
        found = fourier(torch.from_numpy(image)).numpy()
        assert np.abs(found - kspace)[..., mask].max() < 1e-4 * np.abs(kspace).max()


def test_a_model_that_does_not_fit_its_settings_is_refused(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    run = train(tiny_config("method=simulated"), [make_scan("full", 1)], [], tmp_path / "run")
    tensors, card = load_model(run / "model.safetensors")
    changed = card.model_copy(update={"config": card.config.model_copy(update={"width": 3})})
    save_model(run / "model.safetensors", tensors, changed)
    with pytest.raises(RunError, match="do not fit its settings"):
        Reconstructor.load(run)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("method=joint", "cascades=1", "unet_width=2", "calibrate=[noise]", "contrast=1"), []),
        (("method=supervised", "calibrate=[noise]", "gate=open"), ["calibrate", "gate"]),
        (("method=self-supervised", "cascades=1", "unet_width=2", "distortion=1"), ["distortion"]),
        (("method=joint", "cascades=1", "unet_width=2", "simulated_mask.kind=random-1d"), ["simulated_mask"]),
        (("method=simulated", "simulated_mask.kind=random-1d", "corruption.kind=noise"), ["corruption"]),
        (("method=joint-adversarial", "cascades=1", "unet_width=2", "gate=closed"), []),
    ],
)
def test_settings_that_do_nothing_are_named(
    tmp_path: Path,
    piles: tuple[list[Path], list[Path]],
    settings: tuple[str, ...],
    named: list[str],
    messages: list[str],
) -> None:
    full, sub = piles if "method=self-supervised" not in settings else ([], piles[1])
    train(tiny_config("steps=1", *settings), full, sub, tmp_path / "run")
    told = [line for line in messages if "does nothing here" in line]
    assert [line.split()[1] for line in told] == named


def test_a_gradient_above_the_limit_is_scaled_down_to_it(piles: tuple[list[Path], list[Path]]) -> None:
    config = tiny_config("method=supervised")
    method = find_method(config)
    batches = Batches(read_training_data(*piles, config, method.pairing), config, method.pairing)
    gradients = []
    for clip in (None, 1e-3):
        state = build_state(method, config)
        step = Step(state.players, batches.batch(0))
        norm = update(step, method.phases[0], state.optimizers["generator"], clip).gradients["generator"].item()
        assert norm > 1e-3
        gradients.append(
            torch.cat([p.grad.flatten() for p in state.players.generator.parameters() if p.grad is not None])
        )
    plain, clipped = gradients
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), plain / plain.norm())


def test_a_run_goes_on_with_its_settings_where_none_are_said(
    tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    first = tiny_config("method=supervised", "mask.acceleration=3", "learning_rate=2e-4")
    run = train(first, *piles, tmp_path / "run")
    train(load_config(None, ["mask.kind=random-2d"]), *piles, run, resume=True)  # not joint, not 4, not 1e-4
    with pytest.raises(RunError, match=r"holds a run with learning_rate = 0\.0002, asked for 0\.1"):
        train(load_config(None, ["learning_rate=0.1"]), *piles, run, resume=True)
    train(load_config(None, ["epochs=7"]), *piles, run, resume=True)  # more of them; one length replaces the other
    card = load_model(run / "model.safetensors")[1]
    assert (card.steps, card.config.epochs, card.config.steps, card.config.width) == (42, 7, None, 2)
