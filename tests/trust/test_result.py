"""What a reconstruction of arrays says of itself, from Python."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import switchrecon as sr
from switchrecon.errors import DataError, RunError
from switchrecon.trust.calibrate import calibrate
from switchrecon.trust.conformal import sentence

Trained = Callable[..., Path]


def measured(subject: int) -> tuple[np.ndarray, np.ndarray]:
    """K-space (slices, H, W) of a head, and its masks."""
    scan = sr.undersample(sr.phantom(subject, slices=2), acceleration=3)
    assert scan.mask is not None
    return scan.kspace[:, 0], scan.mask


def test_the_old_call_gives_the_image_and_the_new_one_names_the_rest(trained: Trained) -> None:
    reconstruct = sr.Reconstructor.load(trained())
    kspace, mask = measured(1)
    image = reconstruct(kspace, mask)
    assert isinstance(image, np.ndarray)
    found = reconstruct(kspace, mask, doubt=2)
    np.testing.assert_array_equal(found.image, image)
    explained = reconstruct.explain(kspace, mask)
    np.testing.assert_array_equal(found.invented, explained.invented.numpy())
    np.testing.assert_array_equal(found.residual.relative, explained.residual.relative.numpy())
    assert found.doubt.shape == image.shape
    assert (found.doubt > 0).all()
    assert found.held_out.error > 0
    assert (found.claim, found.unclaimed) == ("", "the run was not calibrated")
    assert np.isfinite(found.held_out.errors).all()


def test_tensors_give_tensors_and_one_slice_one_slice(trained: Trained) -> None:
    reconstruct = sr.Reconstructor.load(trained())
    kspace, mask = (torch.from_numpy(array) for array in measured(1))
    found = reconstruct(kspace[0], mask[0], doubt=2)
    assert isinstance(found.doubt, torch.Tensor)
    assert found.image.shape == found.doubt.shape == found.invented.shape == (64, 64)
    again = reconstruct(kspace, mask, doubt=2)
    torch.testing.assert_close(again.doubt[0], found.doubt)  # whatever is beside it


def test_scale_is_free_and_several_coils_have_maps(trained: Trained) -> None:
    reconstruct = sr.Reconstructor.load(trained())
    kspace, mask = measured(2)
    maps = np.full((2, 2, 64, 64), np.sqrt(0.5), dtype=np.complex64)
    found = reconstruct(maps * kspace[:, None], mask, maps, doubt=1)
    scaled = reconstruct(1024 * maps * kspace[:, None], mask, maps, doubt=1)
    assert found.doubt.shape == (2, 64, 64)
    for name in ("image", "invented", "doubt"):
        np.testing.assert_allclose(getattr(scaled, name), 1024 * getattr(found, name), rtol=1e-3, atol=1e-2)
    assert scaled.held_out.error == pytest.approx(found.held_out.error, rel=1e-3)


def test_a_calibrated_run_claims_for_its_number_of_passes_and_its_masks(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained(), run)
    made, _ = calibrate(run, [sr.phantom(number, slices=1) for number in (3, 4, 5)], passes=2)
    kspace, mask = (array[:1] for array in measured(6))
    mask = sr.mask(64, name="other", kind="variable-density-2d", acceleration=4)[None]
    kspace = kspace * mask
    reconstruct = sr.Reconstructor.load(run)
    found = reconstruct(kspace, mask, doubt=2)
    assert found.claim == sentence(3)
    plain = sr.Reconstructor.load(trained())(kspace, mask, doubt=2)
    np.testing.assert_allclose(found.doubt, made.factor * plain.doubt, rtol=1e-5)
    other = reconstruct(kspace, mask, doubt=3)
    assert (other.claim, "made with 2 passes, not 3" in other.unclaimed) == ("", True)
    lines = np.zeros((1, 64, 64), dtype=bool)
    lines[..., ::5] = lines[..., 28:36] = True
    skipped = reconstruct(kspace, lines, doubt=2)
    assert (skipped.claim, "skips columns" in skipped.unclaimed) == ("", True)
    with pytest.raises(RunError, match="was made with data_consistency"):
        reconstruct.using(data_consistency="hard")(kspace, mask, doubt=2)


def test_a_run_reconstructs_scans_with_doubt(trained: Trained) -> None:
    run = sr.train(full=[sr.phantom(0, slices=1)], method="wavelet", steps=1, iterations=2, progress=False)
    scan = sr.undersample(sr.phantom(1, slices=1, coils=2), acceleration=3, center_fraction=0.2)
    found = run.reconstruct(scan, doubt=1)
    np.testing.assert_array_equal(found.image, run.reconstruct(scan))
    assert found.doubt.shape == (1, 64, 64)


def test_bad_numbers_of_passes(trained: Trained) -> None:
    reconstruct = sr.Reconstructor.load(trained())
    kspace, mask = measured(1)
    for passes in (0, -3):
        with pytest.raises(DataError, match=f"doubt={passes}: expected a number of passes, at least 1"):
            reconstruct(kspace, mask, doubt=passes)
