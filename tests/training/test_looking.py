"""A run is looked at while it trains: figures that are right, time that is bounded, nothing that the training feels."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from switchrecon.config import Config
from switchrecon.core.pictures import save_row
from switchrecon.data.piles import read_training_data
from switchrecon.errors import RunError
from switchrecon.methods.methods import find_method, with_method_settings
from switchrecon.runs.scores import Score, Scores, read_scores
from switchrecon.training import watch as watching
from switchrecon.training.batches import Batches
from switchrecon.training.state import build_state
from switchrecon.training.train import train
from switchrecon.training.watch import Sparing, Watch
from tests.conftest import tiny_config

MakeScan = Callable[..., Path]
UNROLLED = ("cascades=1", "unet_width=2")


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[list[Path], list[Path]]:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


def watch_of(config: Config, piles: tuple[list[Path], list[Path]], folder: Path) -> Watch:
    method = find_method(config)
    config = with_method_settings(config, method)
    batches = Batches(read_training_data(*piles, config, method.pairing), config, method.pairing)
    return Watch(folder, build_state(method, config), batches, Sparing(part=1e6))


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_looking_keeps_to_its_part_of_the_time() -> None:
    clock, looks = Clock(), 0
    sparing = Sparing(0.03, clock)
    for _ in range(1000):  # steps of a second, looks of two
        clock.now += 1.0
        if sparing.allows(guess=4.0):
            looks += 1
            with sparing.work():
                clock.now += 2.0
    assert sparing.spent == 2.0 * looks
    assert looks >= 10
    assert sparing.spent <= 0.03 * clock.now
    clock.now = sparing.started + 100.0
    sparing.spent, sparing.latest = 0.0, 2.0
    assert sparing.allows()
    assert not sparing.allows(0.0, 2)


def test_a_generator_that_returns_x_scores_as_zero_filling(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watch_of(tiny_config("method=joint", *UNROLLED), piles, tmp_path)
    monkeypatch.setattr(watch.state.players.generator, "to_full", lambda x, encoding: x)
    score = watch.score(1.0)
    assert score.psnr == score.zero_filling
    assert score.held_out == 0
    # x with twice the energy of x's error at the held-out samples, where zero filling of one coil has nothing
    monkeypatch.setattr(watch.state.players.generator, "to_full", lambda x, encoding: 0 * x)
    assert watch.score(1.0).held_out == 0
    truth = watch.batches.batch(watch.batches.steps).x
    monkeypatch.setattr(watching, "SLICES", 1)
    watch.draws = watch.draws[:1] if watch.draws else None
    monkeypatch.setattr(watch.state.players.generator, "to_full", lambda x, encoding: 0.5 * truth)
    assert watch.score(1.0).held_out == pytest.approx(10 * math.log10(4), abs=0.01)


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        (("method=joint", *UNROLLED), {"psnr", "zero_filling", "held_out"}),
        (("method=self-supervised", *UNROLLED), {"held_out"}),
        (("method=simulated",), {"psnr", "zero_filling"}),
        (("method=supervised", "representation=magnitude"), {"psnr", "zero_filling"}),
        (("method=switchable", "representation=magnitude"), {"psnr", "zero_filling"}),
    ],
)
def test_what_is_scored_follows_from_what_a_method_sees(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], settings: tuple[str, ...], known: set[str]
) -> None:
    watch = watch_of(tiny_config(*settings), piles, tmp_path)
    watch.look(2.0, last=False)
    [score] = read_scores(tmp_path)
    assert {name for name in ("psnr", "zero_filling", "held_out") if getattr(score, name) is not None} == known
    assert score.quality == watch.quality != ""
    with Image.open(tmp_path / "progress.png") as picture:
        assert picture.width == 3 * 256 + 2 * 4
        assert "not for diagnosis" in picture.info["Comment"]
    assert not list(tmp_path.glob(".partial*"))


def test_watching_changes_nothing(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("steps=6", "checkpoint_every=6")
    monkeypatch.setattr(Sparing, "allows", lambda self, *given: False)
    alone = train(config, *piles, tmp_path / "alone")
    assert not (alone / "progress.png").exists()
    monkeypatch.setattr(Sparing, "allows", lambda self, *given: True)
    watched = train(config, *piles, tmp_path / "watched")
    first, second = (load_file(run / "checkpoints/step-00000006.safetensors") for run in (alone, watched))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [score.step for score in read_scores(watched)] == [1, 2, 3, 4, 5, 6]
    kept = sorted(file.stem for file in (watched / "progress").iterdir())
    assert kept == ["00000001", "00000002", "00000004", "00000006"]


def test_scores_after_the_last_checkpoint_are_dropped(tmp_path: Path) -> None:
    scores = Scores(tmp_path, 0)
    for step in (1, 2, 3):
        scores.add(Score(step, float(step), 20.0, 18.0))
    assert [score.step for score in Scores(tmp_path, 2).known] == [1, 2]
    assert read_scores(tmp_path) == [Score(1, 1.0, 20.0, 18.0), Score(2, 2.0, 20.0, 18.0)]
    (tmp_path / "scores.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"scores\.jsonl: not readable scores of a run .*; delete the file"):
        read_scores(tmp_path)


def test_quality_is_said_in_few_words() -> None:
    assert Score(1, 1.0, 28.44, 22.1, 3.0).quality == "PSNR 28.4 dB (zero-filled 22.1)"
    assert Score(1, 1.0, held_out=-0.31).quality == "held-out -0.3 dB"
    assert Score(1, 1.0).quality == ""


def test_a_row_of_images_has_one_window(tmp_path: Path) -> None:
    flat = np.full((128, 128), 2.0)
    save_row(tmp_path / "row.png", [flat, flat / 2, np.full((128, 128), np.nan)], ["a", "b", "c"])
    with Image.open(tmp_path / "row.png") as picture:
        grey = np.asarray(picture)
    middle = grey[grey.shape[0] // 2]
    assert (middle[128], middle[260 + 128], middle[520 + 128]) == (255, 128, 0)
    assert json.loads(json.dumps(picture.info))["Comment"].startswith("switchrecon: research use only")
