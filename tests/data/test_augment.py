"""Distortions: where pixels go, what stays, and who is distorted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.config import load_config
from switchrecon.data.augment import (
    KNOTS,
    distort,
    distortion_probability,
    draw_contrast,
    draw_distortion,
    with_contrast,
    with_gamma,
)
from switchrecon.data.piles import read_training_data
from switchrecon.errors import ConfigError
from switchrecon.phantoms.scans import write_heads
from switchrecon.training.batches import Batches
from switchrecon.training.train import train
from tests.conftest import blob_images, tiny_config

MakeScan = Callable[..., Path]


def test_no_distortion_is_the_identity() -> None:
    image = torch.from_numpy(blob_images(1, 2))
    torch.testing.assert_close(distort(image, np.eye(2, 3)), image, atol=1e-5, rtol=1e-5)
    matrix, gamma = draw_distortion(np.random.RandomState(0), 0.0)
    np.testing.assert_array_equal(matrix, np.eye(2, 3))
    assert gamma == 1
    assert with_gamma(image, 1.0) is image


@pytest.mark.parametrize("shape", [(64, 64), (96, 48)])
def test_a_rotation_moves_a_point_on_a_circle_also_where_the_image_is_not_square(shape: tuple[int, int]) -> None:
    height, width = shape
    image = torch.zeros(shape, dtype=torch.complex64)
    image[height // 2 - 10 : height // 2 - 7, width // 2 - 1 : width // 2 + 2] = 1j
    angle = np.pi / 6
    matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
    moved = distort(image, matrix)

    def offset(array: torch.Tensor) -> np.ndarray:
        weights = array.imag.clamp_min(0).numpy()
        rows, columns = np.mgrid[:height, :width]
        centre = [(height - 1) / 2, (width - 1) / 2]
        return np.array(
            [(weights * axis).sum() / weights.sum() - c for axis, c in zip((rows, columns), centre, strict=True)]
        )

    before, after = offset(image), offset(moved)
    assert np.hypot(*after) == pytest.approx(np.hypot(*before), abs=0.3)
    turned = np.arctan2(*after) - np.arctan2(*before)
    assert abs(turned) == pytest.approx(angle, abs=0.03)


def test_gamma_changes_magnitudes_and_neither_phase_nor_maximum() -> None:
    image = torch.from_numpy(blob_images(2, 1))
    changed = with_gamma(image, 1.3)
    assert float(changed.abs().max()) == pytest.approx(float(image.abs().max()), rel=1e-5)
    inside = image.abs() > 0.1
    torch.testing.assert_close(torch.angle(changed[inside]), torch.angle(image[inside]), atol=1e-4, rtol=1e-4)
    assert float(changed.abs()[inside].mean()) < float(image.abs()[inside].mean())


def test_distortions_become_more_probable() -> None:
    course = [distortion_probability(0.6, t) for t in (0.0, 0.2, 0.5, 1.0)]
    assert course == sorted(course)
    assert (course[0], course[-1]) == (0, pytest.approx(0.6))
    drawn = [draw_distortion(np.random.RandomState(n), 0.5)[1] != 1 for n in range(400)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.08)


def test_only_y_is_distorted_and_more_so_later(make_scan: MakeScan) -> None:
    def made(*more: str) -> Batches:
        config = load_config(None, ["width=2", "steps=40", *more])
        data = read_training_data([make_scan("full", 1)], [make_scan("sub", 2)], config, "unpaired")
        return Batches(data, config, "unpaired")

    plain, distorted, again = made(), made("distortion=1"), made("distortion=1")
    assert torch.equal(plain.batch(0).y, distorted.batch(0).y)
    assert not torch.equal(plain.batch(39).y, distorted.batch(39).y)
    assert torch.equal(plain.batch(39).x, distorted.batch(39).x)
    assert torch.equal(again.batch(39).y, distorted.batch(39).y)


@pytest.mark.parametrize("name", ["distortion", "contrast"])
def test_what_would_undo_a_corruption_of_pairs_is_refused(name: str, make_scan: MakeScan) -> None:
    settings = ["width=2", f"{name}=0.5", "corruption.kind=noise", "corruption.level=0.1"]
    config = load_config(None, settings)
    data = read_training_data([make_scan("full", 1)], [], config, "paired")
    with pytest.raises(ConfigError, match=f"{name} would undo the corruption"):
        Batches(data, config, "paired")


def test_a_contrast_maps_magnitudes_between_knots_and_keeps_phases() -> None:
    magnitude = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    phase = torch.tensor([[0.0, 0.5, -1.0, 2.0, 3.0]])
    mapped = with_contrast(torch.polar(magnitude, phase), np.array([0.0, 1.0, 0.5]))  # of 0, 2 and 4
    torch.testing.assert_close(mapped.abs(), torch.tensor([[0.0, 2.0, 4.0, 3.0, 2.0]]))
    torch.testing.assert_close(torch.angle(mapped)[0, 1:], phase[0, 1:])
    assert not with_contrast(torch.zeros(2, 2, dtype=torch.complex64), np.array([0.0, 1.0])).any()


def test_drawn_contrasts_reach_from_zero_to_one_and_need_not_rise() -> None:
    drawn = [draw_contrast(np.random.RandomState(n)) for n in range(50)]
    assert all((len(v), v[0], v.max(), v.min()) == (KNOTS + 1, 0, 1, 0) for v in drawn)
    assert all((np.diff(v) < 0).any() for v in drawn)
    slopes = [v[1] * KNOTS for v in drawn]
    assert max(slopes) < 4  # of the background, which holds nothing but noise
    assert np.median(slopes) == pytest.approx(1, abs=0.4)


def test_y_alone_is_shown_in_other_contrasts_and_so_are_its_coils(tmp_path: Path) -> None:
    heads = write_heads(tmp_path, range(2), 2, 64, coils=3)

    def made(*more: str) -> Batches:
        config = load_config(
            None, ["width=2", "steps=40", "augment=none", "mask.center_fraction=0.16", *more], method="joint"
        )
        data = read_training_data([heads[0]], [heads[1]], config, "unpaired")
        return Batches(data, config, "unpaired")

    plain, others, again, half = made(), made("contrast=1"), made("contrast=1"), made("contrast=0.5")
    assert plain.data.full is not None
    own, moved = others._draw(others.data.full, "full", 3)  # type: ignore[arg-type]
    assert own.maps is not None
    torch.testing.assert_close(moved.coil_images, own.maps * moved.image)
    before, after = (one.low_resolution(others.center_fraction).abs().max() for one in (own, moved))
    torch.testing.assert_close(before, after)  # what a slice is scaled by
    assert not torch.equal(own.image, moved.image)
    changed = [not torch.equal(plain.batch(step).y, half.batch(step).y) for step in range(40)]
    assert 10 < sum(changed) < 30
    for step in (0, 7):
        assert torch.equal(plain.batch(step).x, others.batch(step).x)
        assert torch.equal(again.batch(step).y, others.batch(step).y)


def test_contrasts_are_refused_where_they_would_do_harm(make_scan: MakeScan, tmp_path: Path) -> None:
    piles = [make_scan("full", 1)], [make_scan("sub", 2)]
    for settings, reason in (
        (["calibrate=[intensity]"], "calibrate 'intensity' would undo contrast"),
        (["method=switchable"], "'switchable' matches G.X. to Y"),
        (["method=joint-adversarial", "gate=open"], "'joint-adversarial' matches G.X. to Y"),
    ):
        config = tiny_config("method=joint", "contrast=1", *settings)
        with pytest.raises(ConfigError, match=reason):
            train(config, *piles, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(tiny_config("method=joint-adversarial", "contrast=1", "gate=closed"), *piles, tmp_path / "run")
