"""What a reconstruction says of itself: its parts add up, and nothing about the image changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.physics.fourier import fourier
from switchrecon.physics.operators import Encoding
from switchrecon.reconstruction.reconstructor import Reconstructor

from ..conftest import blob_images

MASK = np.broadcast_to(np.random.RandomState(0).uniform(size=64) < 0.4, (64, 64)).copy()
MASK[:, 28:36] = True


@pytest.mark.parametrize("representation", ["complex", "magnitude"])
@pytest.mark.parametrize("consistency", ["none", "hard"])
def test_the_parts_add_up_to_the_image_that_the_call_gives(
    trained: Callable[..., Path], representation: str, consistency: str
) -> None:
    reconstructor = Reconstructor.load(trained("switchable", representation), data_consistency=consistency)
    kspace = fourier(torch.from_numpy(blob_images(3)))
    kspace[1] = 0
    found = reconstructor.explain(kspace, MASK)
    assert torch.equal(found.image, reconstructor(kspace, MASK))
    assert found.phased.is_complex()
    torch.testing.assert_close(found.phased.abs(), found.image.abs(), rtol=1e-5, atol=1e-5)
    assert not found.invented[1].any()
    # With the image's phase, the invented part is all that lies in unmeasured k-space.
    phase = torch.ones(()) if found.image.is_complex() else torch.sgn(found.phased)
    encoding = Encoding(torch.from_numpy(MASK).expand(3, 64, 64))
    size = torch.linalg.vector_norm(found.phased)
    assert torch.linalg.vector_norm(encoding(found.invented * phase)) <= 1e-6 * size
    measured = (found.image - found.invented) * phase
    torch.testing.assert_close(encoding(measured), encoding(found.phased), rtol=0, atol=1e-5 * float(size))
    assert 0 < found.share < 1
    if consistency == "hard":
        expected = encoding(found.image.abs() * phase if representation == "magnitude" else found.image)
        assert found.residual.relative[0] < 1e-5
        torch.testing.assert_close(expected[0], encoding(found.phased)[0], rtol=0, atol=1e-4)


def test_the_scale_of_the_scan_scales_what_was_invented(trained: Callable[..., Path]) -> None:
    reconstructor = Reconstructor.load(trained())
    kspace = fourier(torch.from_numpy(blob_images(3)))
    one, other = reconstructor.explain(kspace, MASK), reconstructor.explain(kspace * 1e-7, MASK)
    torch.testing.assert_close(other.invented * 1e7, one.invented, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.residual.chi_square, one.residual.chi_square, rtol=1e-3, atol=0)
    assert other.share == pytest.approx(one.share, rel=1e-4)


def test_several_coils_measure_more_of_the_same_image(trained: Callable[..., Path]) -> None:
    reconstructor = Reconstructor.load(trained())
    ramp = torch.linspace(0, np.pi / 2, 64)
    maps = torch.stack([ramp.cos().expand(64, 64), ramp.sin().expand(64, 64)]).to(torch.complex64).expand(3, 2, 64, 64)
    images = torch.from_numpy(blob_images(3))
    kspace = fourier(maps * images[:, None])
    found = reconstructor.explain(kspace, MASK, maps)
    alone = reconstructor.explain(fourier(images), MASK)
    assert found.image.shape == found.invented.shape == (3, 64, 64)
    assert 0 < found.share < alone.share
