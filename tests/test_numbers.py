"""Numbers of any size and matrices of any shape."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from switchrecon import Reconstructor
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.training.train import train
from tests.conftest import blob_images, tiny_config

SIDES = (1, 2, 7, 63, 65, 127, 368, 372)
KSPACE = fourier(torch.from_numpy(blob_images(9, 2))).numpy()
MASK = np.random.RandomState(0).uniform(size=(64, 64)) < 0.4
MASK[29:35, 29:35] = True


@pytest.fixture(scope="module")
def reconstructor(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reconstructor]:
    """Tiny trained runs with hard data consistency that accept any matrix."""
    base = tmp_path_factory.mktemp("numbers")
    for folder, subject in (("full", 1), ("sub", 2)):
        (base / folder).mkdir()
        np.save(base / folder / f"{subject}.npy", fourier(torch.from_numpy(blob_images(subject))).numpy())

    @cache
    def get(method: str) -> Reconstructor:
        torch.set_num_threads(1)
        config = tiny_config(f"method={method}", "cascades=2", "unet_width=2", "steps=3")
        run = train(config, [base / "full"], [base / "sub"], base / method)
        return Reconstructor.load(run, data_consistency="hard", resize=True)

    return get


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    exponent=st.sampled_from([-12, -9, -3, 3, 9, 12]),
    factor=st.floats(1, 9.9),
    method=st.sampled_from(["switchable", "joint"]),
)
def test_the_unit_of_k_space_is_free(
    reconstructor: Callable[[str], Reconstructor], exponent: int, factor: float, method: str
) -> None:
    """R(s k) = s R(k) to 1e-5, s from 1e-12 to 1e13."""
    reconstruct = reconstructor(method)
    scale = np.float32(factor * 10.0**exponent)
    expected = reconstruct(KSPACE, MASK)
    found = reconstruct(KSPACE * scale, MASK) / scale
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(height=st.sampled_from(SIDES), width=st.sampled_from(SIDES), method=st.sampled_from(["switchable", "joint"]))
def test_every_matrix_comes_back_in_its_shape(
    reconstructor: Callable[[str], Reconstructor], height: int, width: int, method: str
) -> None:
    random = np.random.RandomState(height * 1000 + width)
    image = random.normal(size=(1, height, width)) + 1j * random.normal(size=(1, height, width))
    kspace = fourier(torch.from_numpy(image.astype(np.complex64))).numpy()
    mask = random.uniform(size=(height, width)) < 0.5
    mask[height // 2, width // 2] = True
    found = reconstructor(method)(kspace, mask)
    assert found.shape == kspace.shape
    assert np.isfinite(found).all()
    measured = fourier(torch.from_numpy(found)).numpy()
    assert np.abs(measured - kspace)[..., mask].max() <= 1e-4 * np.abs(kspace).max()


@pytest.mark.parametrize("method", ["switchable", "joint"])
def test_a_mask_of_ones_gives_back_the_measured_image(
    reconstructor: Callable[[str], Reconstructor], method: str
) -> None:
    expected = inverse_fourier(torch.from_numpy(KSPACE)).numpy()
    found = reconstructor(method)(KSPACE, np.ones((64, 64), bool))
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("side", [(7, 63), (63, 2), (1, 65), (127, 7)])
def test_odd_matrices_train(tmp_path: Path, side: tuple[int, int]) -> None:
    random = np.random.RandomState(0)
    kspace = (random.normal(size=(2, *side)) + 1j * random.normal(size=(2, *side))).astype(np.complex64)
    np.save(tmp_path / "full.npy", kspace)
    config = tiny_config("method=simulated", "steps=2", "mask.kind=random-2d", "mask.acceleration=2")
    run = train(config, [tmp_path / "full.npy"], [], tmp_path / "run")
    mask = random.uniform(size=side) < 0.5
    mask[side[0] // 2, side[1] // 2] = True
    assert Reconstructor.load(run)(kspace, mask).shape == kspace.shape
