"""Calibrated simulation and corruption: statistics that must agree afterwards, and what must stay as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.config import Config, CorruptionConfig, load_config
from switchrecon.data.calibration import Calibrator
from switchrecon.data.corruption import corrupted
from switchrecon.data.piles import Pile, Slice, read_training_data
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.intensity import channels_to_complex, low_resolution
from switchrecon.physics.noise import noise_level
from switchrecon.scans.scan import Scan
from switchrecon.training.batches import Batches
from switchrecon.training.train import train
from tests.conftest import blob_images

MakeScan = Callable[..., Path]
FULL = torch.ones(64, 64, dtype=torch.bool)


def pile(images: torch.Tensor) -> Pile:
    return Pile([Slice(image, FULL, 1.0, "v", index, "s") for index, image in enumerate(images)])


def images(subject: int) -> torch.Tensor:
    return torch.from_numpy(blob_images(subject, 6)).abs().to(torch.complex64)


def test_intensities_get_the_other_domains_quantiles() -> None:
    y = images(1)
    x = 0.5 * images(2).abs().square().to(torch.complex64)  # another contrast: a monotone function of the same tissue
    calibrator = Calibrator(pile(y), pile(x), 0.2, ["intensity"])
    mapped = torch.stack([calibrator.image(own, np.random.RandomState(0)) for own in y])

    def foreground(group: torch.Tensor) -> torch.Tensor:
        low = low_resolution(fourier(group), 0.2).abs()
        return low[low > 0.1 * low.max()]

    before, after = (abs(float(foreground(g).median() - foreground(x).median())) for g in (y, mapped))
    assert after < 0.35 * before
    order = y[0].abs().flatten().argsort()
    assert (mapped[0].abs().flatten()[order].diff() >= -1e-6).all()  # monotone: no tissue changes places
    torch.testing.assert_close(torch.sgn(mapped[0]), torch.sgn(y[0]))


def test_equal_domains_are_left_as_they_are() -> None:
    y = images(3)
    calibrator = Calibrator(pile(y), pile(y), 0.2, ["intensity", "noise"])
    mapped = calibrator.image(y[2], np.random.RandomState(0))
    torch.testing.assert_close(mapped, y[2], atol=1e-4, rtol=1e-3)
    kspace = fourier(y[2])
    levels = [noise_level(fourier(own).numpy(), FULL.numpy()) for own in y]
    added = calibrator.noise(y[2], kspace, np.random.RandomState(0))
    assert float(added.real.std()) <= max(levels) * 1.05


def test_noise_reaches_the_level_of_the_other_domain_and_is_never_taken_away() -> None:
    random = np.random.RandomState(0)
    y = images(4)
    spoilt = torch.from_numpy((random.normal(size=(6, 64, 64)) + 1j * random.normal(size=(6, 64, 64))) * 0.2)
    x = y + inverse_fourier(spoilt.to(torch.complex64))
    towards_x, towards_y = (Calibrator(pile(a), pile(b), 0.2, ["noise"]) for a, b in ((y, x), (x, y)))
    added = towards_x.noise(y[0], fourier(y[:1]), np.random.RandomState(1))
    assert noise_level((fourier(y[:1]) + added).numpy(), FULL.numpy()) == pytest.approx(0.2, rel=0.15)
    assert not towards_y.noise(x[0], fourier(x[:1]), np.random.RandomState(1)).any()
    coils = torch.zeros(3, 64, 64, dtype=torch.complex64)
    assert towards_x.noise(y[0], coils, np.random.RandomState(1)).std((1, 2)).min() > 0.2


def test_phase_is_that_of_a_slice_of_the_other_domain() -> None:
    y = images(5)
    ramp = torch.exp(1j * torch.linspace(-1, 1, 64))[:, None]
    x = images(6) * ramp
    calibrator = Calibrator(pile(y), pile(x), 0.4, ["phase"])
    mapped = calibrator.image(y[0], np.random.RandomState(0))
    torch.testing.assert_close(mapped.abs(), y[0].abs(), atol=1e-5, rtol=1e-5)
    inside = y[0].abs() > 0.3
    turned = torch.angle(mapped * ramp.conj())[inside]
    assert turned.abs().median() < 0.3 * torch.angle(y[0] * ramp.conj())[inside].abs().median()


def test_pairs_are_calibrated_towards_x_and_keep_their_reference(make_scan: MakeScan) -> None:
    settings = ["width=2", "corruption.kind=noise", "corruption.level=0.1", "representation=complex"]
    config = load_config(None, [*settings, "calibrate=[noise]"])
    data = read_training_data([make_scan("full", 1)], [make_scan("sub", 2)], config, "unpaired")
    made = Batches(data, config, "unpaired")
    batch = made.batch(0)
    assert batch.draws is not None
    image, encoding, reference = batch.draws.pair()
    torch.testing.assert_close(reference, batch.y)  # noise is added to what is measured, not to the reference
    added = fourier(channels_to_complex(image)) - encoding(channels_to_complex(batch.y))[:, 0]
    assert not added[~encoding.mask].abs().max() > 1e-5
    level = np.median([noise_level(s.kspace.numpy(), s.mask.numpy()) for s in made._sub.slices])
    assert float(added[encoding.mask].real.std()) == pytest.approx(float(level), rel=0.3)
    plain = Batches(data, load_config(None, settings), "unpaired").batch(0)
    assert plain.draws is not None
    sound = channels_to_complex(plain.draws.pair()[0])
    torch.testing.assert_close(sound, encoding.H(encoding(channels_to_complex(batch.y))), atol=1e-5, rtol=1e-4)


def scan(kspace: np.ndarray) -> Scan:
    return Scan(Path("a.npy"), "a", kspace.astype(np.complex64))


def test_corruption_by_hand() -> None:
    kspace = np.ones((2, 4, 6), dtype=np.complex64)
    ghosts = corrupted(scan(kspace), CorruptionConfig(kind="ghosts", level=np.pi)).kspace[:, 0]
    np.testing.assert_allclose(ghosts, np.broadcast_to([1, -1, 1, -1, 1, -1], (2, 4, 6)), atol=1e-6)
    turned = corrupted(scan(kspace), CorruptionConfig(kind="phase-errors", level=0.3)).kspace[:, 0]
    np.testing.assert_allclose(np.abs(turned), 1, rtol=1e-6)
    np.testing.assert_allclose(
        turned, np.broadcast_to(turned[:, :1], turned.shape), rtol=1e-6
    )  # a column is one phase encode
    assert np.ptp(np.angle(turned[0, 0])) > 0.1
    assert not np.allclose(turned[0], turned[1])
    same = scan(kspace)
    assert corrupted(same, CorruptionConfig()) is same
    images = np.zeros((1, 64, 64))
    images[0, 20:40, 20:40] = 5.0
    noisy = corrupted(scan(fourier(torch.from_numpy(images).to(torch.complex64)).numpy()), _noise(0.02))
    error = noisy.kspace[:, 0] - fourier(torch.from_numpy(images).to(torch.complex64)).numpy()
    assert error.real.std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(noisy.kspace, corrupted(noisy_source(images), _noise(0.02)).kspace)


def _noise(level: float) -> CorruptionConfig:
    return CorruptionConfig(kind="noise", level=level)


def noisy_source(images: np.ndarray) -> Scan:
    return scan(fourier(torch.from_numpy(images).to(torch.complex64)).numpy())


def test_x_and_the_test_are_corrupted_and_references_are_not(make_scan: MakeScan, tmp_path: Path) -> None:
    full, test = make_scan("full", 1), make_scan("test", 2)

    def config(*more: str) -> Config:
        return load_config(None, ["width=2", "steps=2", "method=supervised", "checkpoint_every=2", *more])

    noise = ("corruption.kind=noise", "corruption.level=0.1")
    data = [read_training_data([full], [], config(*more), "paired") for more in ((), noise)]
    sound, spoilt = (Batches(d, config(), "paired").batch(0) for d in data)
    scale = float(sound.y.abs().max() / spoilt.y.abs().max())  # the scale is that of what was measured
    torch.testing.assert_close(spoilt.y * scale, sound.y, atol=2e-3, rtol=1e-2)
    assert (spoilt.x * scale - sound.x).abs().mean() > 5 * (spoilt.y * scale - sound.y).abs().mean()
    scores = []
    for name, more in (("sound", ()), ("spoilt", noise)):
        run = train(config(*more), [full], [], tmp_path / name)
        scores.append(evaluate([run], [test], tmp_path / f"{name}-evaluation").methods["zero-filled"])
    assert scores[1]["psnr"].mean < scores[0]["psnr"].mean


def test_pairs_can_be_simulated_with_other_masks_than_the_tests(make_scan: MakeScan) -> None:
    config = load_config(None, ["width=2", "method=simulated", "simulated_mask.kind=random-1d"])
    data = read_training_data([make_scan("full", 1)], [], config, "simulated")
    mask = Batches(data, config, "simulated").batch(0).encoding_x.mask
    assert (mask == mask[:, :1]).all()
    assert not (data.piles["full"].slices[0].mask == data.piles["full"].slices[0].mask[:1]).all()
