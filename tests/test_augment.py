"""Distortions: where pixels go, what stays, and who is distorted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.config import load_config
from switchrecon.data.augment import distort, distortion_probability, draw_distortion, with_gamma
from switchrecon.data.batches import Batches
from switchrecon.data.piles import read_training_data
from switchrecon.errors import ConfigError
from tests.conftest import blob_images

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


def test_distortions_would_undo_a_corruption_of_pairs(make_scan: MakeScan) -> None:
    settings = ["width=2", "distortion=0.5", "corruption.kind=noise", "corruption.level=0.1"]
    config = load_config(None, settings)
    data = read_training_data([make_scan("full", 1)], [], config, "paired")
    with pytest.raises(ConfigError, match="distortion would undo the corruption"):
        Batches(data, config, "paired")
