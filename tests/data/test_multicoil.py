"""Several coils all the way: from raw k-space through training to images, by the same operator as one coil."""

from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.config import Config, load_config
from switchrecon.data.coils import one_coil, with_maps
from switchrecon.data.piles import read_training_data
from switchrecon.errors import ConfigError, DataError
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.methods.methods import METHODS
from switchrecon.methods.step import Step
from switchrecon.nets.unrolled import Unrolled
from switchrecon.phantoms.coils import simulate_maps
from switchrecon.phantoms.scans import write_heads
from switchrecon.physics.consistency import consistent, trust
from switchrecon.physics.fourier import fourier
from switchrecon.physics.intensity import channels_to_complex, complex_to_channels
from switchrecon.physics.operators import Encoding, Sensitivity
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import Scan
from switchrecon.training.batches import Batches
from switchrecon.training.train import train
from tests.conftest import blob_images, examples
from tests.scans.mrd_files import header, lines_of, write_mrd

SETTINGS = [
    "mask.kind=random-1d",
    "mask.acceleration=3",
    "mask.center_fraction=0.2",
    "width=4",
    "unet_width=4",
    "cascades=3",
    "learning_rate=1e-3",
]
MAPS = torch.from_numpy(simulate_maps(4, (64, 64)))
LINES = torch.zeros(64, 64, dtype=torch.bool)
LINES[:, ::3] = True
LINES[:, 26:38] = True


def coil_kspace(subject: int, slices: int = 2) -> torch.Tensor:
    return fourier(torch.from_numpy(blob_images(subject, slices))[:, None] * MAPS)


def scan(kspace: torch.Tensor, **fields: object) -> Scan:
    return Scan(Path("a.h5"), "a", kspace.numpy(), **fields)  # type: ignore[arg-type]


def test_maps_are_those_that_made_the_data_and_the_same_from_undersampled_data() -> None:
    kspace = coil_kspace(1)
    config = load_config(None, SETTINGS)
    full = with_maps(scan(kspace), config)
    assert full.maps is not None
    inside = np.abs(blob_images(1, 2)) > 0.3
    found, true = (m / np.exp(1j * np.angle(m[0:1])) for m in (full.maps[0], MAPS.numpy()))
    error = np.abs(found - true)[:, inside[0]]
    assert np.median(error) < 0.05
    masks = np.broadcast_to(LINES.numpy(), (2, 64, 64))
    half = with_maps(scan(kspace * LINES, mask=masks), config)
    assert half.maps is not None
    assert np.median(np.abs(half.maps - full.maps)[:, :, inside[0]]) < 0.05
    assert with_maps(full, config) is full
    alone = scan(kspace[:, 0])
    assert with_maps(alone, config) is alone


def test_noise_is_whitened_and_coils_are_compressed() -> None:
    random = np.random.RandomState(0)
    mixing = np.eye(4) + 0.5 * random.normal(size=(4, 4))
    noise = mixing @ (random.normal(size=(4, 4000)) + 1j * random.normal(size=(4, 4000)))
    kspace = coil_kspace(2) * 1000
    made = with_maps(scan(kspace, noise=noise.astype(np.complex64)), load_config(None, [*SETTINGS, "coils=3"]))
    assert made.kspace.shape == (2, 3, 64, 64)
    assert made.maps is not None
    assert made.maps.shape == (2, 3, 64, 64)
    assert made.noise is None  # it has been used
    geometric = [*SETTINGS, "coils=3", "coil_compression=geometric"]
    other = with_maps(scan(kspace, noise=noise.astype(np.complex64)), load_config(None, geometric))
    energies = [float(np.square(np.abs(s.kspace)).sum()) for s in (made, other)]
    assert energies[1] > 0.99 * energies[0]  # as much of the signal, with a matrix for each place
    assert one_coil(scan(kspace)).shape == (2, 64, 64)


def test_too_small_a_centre_is_explained() -> None:
    mask = np.random.RandomState(0).uniform(size=(2, 64, 64)) < 0.3
    mask[:, 31:34, 31:34] = True
    with pytest.raises(DataError, match=r"a.h5: no coil sensitivity maps: the fully measured centre has 3x3"):
        with_maps(scan(coil_kspace(1) * torch.from_numpy(mask)[:, None], mask=mask), Config())
    assert with_maps(scan(coil_kspace(1)), load_config(None, [*SETTINGS, "coil_maps=walsh"])).maps is not None


def test_cascades_reduce_the_residual_and_leave_the_truth_alone() -> None:
    truth = torch.from_numpy(blob_images(3, 2))
    encoding = Encoding(LINES.expand(2, 64, 64), Sensitivity(MAPS.expand(2, 4, 64, 64)))
    measured = encoding(truth)
    zero_filled = encoding.H(measured)
    network = Unrolled([torch.nn.Identity()], 30)
    with torch.no_grad():
        after = channels_to_complex(network(complex_to_channels(zero_filled), encoding))

    def residual(image: torch.Tensor) -> float:
        return float((encoding(image) - measured).abs().square().sum())

    assert residual(after) < 0.05 * residual(zero_filled)
    assert float((after - truth).abs().mean()) < 0.7 * float((zero_filled - truth).abs().mean())


def test_consistency_keeps_what_no_coil_has_measured() -> None:
    truth = torch.from_numpy(blob_images(4, 1))
    encoding = Encoding(LINES[None], Sensitivity(MAPS[None]))
    wrong = truth * 0.5
    hard = consistent(encoding, wrong, encoding(truth), 1.0)
    assert float((encoding(hard - truth)).abs().max()) < 0.02 * float(encoding(truth).abs().max())
    soft = consistent(encoding, wrong, encoding(truth), torch.tensor([[[0.5]]]))
    errors = [float((image - truth).abs().mean()) for image in (wrong, soft, hard)]
    assert errors[0] > errors[1] > errors[2]


def test_trust_weighs_the_images_error_against_the_noise() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.from_numpy(blob_images(5, 2)) * 0  # nothing but noise, so that its estimate is right
    mask = torch.rand(2, 64, 64, generator=random) < 0.5
    encoding = Encoding(mask)
    noise = 0.1 * torch.randn(2, 1, 64, 64, dtype=torch.complex64, generator=random) * 2**0.5
    measured = encoding(truth) + noise * mask[:, None]
    off = torch.zeros(2, 64, 64, dtype=torch.complex64)
    off[1, 32, 32] = 0.3 * 64  # its spectrum has magnitude 0.3 everywhere
    weights = trust(off, measured, encoding).flatten()
    assert weights[0] < 0.15  # all that differs is noise: measured samples deserve no trust
    assert float(weights[1]) == pytest.approx(0.09 / (0.09 + 0.02), abs=0.05)


def test_a_batch_of_several_coils(tmp_path: Path) -> None:
    heads = write_heads(tmp_path, range(2), 2, 64, coils=3)
    config = load_config(None, [*SETTINGS, "batch_size=2"])
    data = read_training_data([heads[0]], [heads[1]], config, "unpaired")
    batch = Batches(data, config, "unpaired").batch(0)
    assert batch.measured is not None
    assert batch.measured.shape == (2, 3, 64, 64)
    x = channels_to_complex(batch.x)
    torch.testing.assert_close(x, batch.encoding_x.H(batch.measured), atol=1e-5, rtol=1e-4)
    assert not batch.measured[:, 0][~batch.encoding_x.mask].abs().max() > 1e-5

    class Zero:
        def to_full(self, image: torch.Tensor, encoding: Encoding) -> torch.Tensor:
            return torch.zeros_like(image)

    step = Step(Zero(), batch)  # type: ignore[arg-type]
    torch.testing.assert_close(step.sampled_difference_x(), batch.measured)
    image, kept, weight = step.drawn.split()
    torch.testing.assert_close(channels_to_complex(image), kept.H(batch.measured), atol=1e-5, rtol=1e-4)
    assert not (weight[kept.mask] > 0).any()
    _, encoding = step.turn
    assert encoding.maps is not None
    norm = encoding.maps.abs().square().sum(1)
    assert step.turned.shape == batch.x.shape
    assert float(norm.max()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "method", examples([*METHODS], "switchable", "iscl", "supervised", "joint", "self-supervised", "wavelet")
)
def test_every_method_trains_and_reconstructs(tmp_path: Path, method: str) -> None:
    heads = write_heads(tmp_path / "heads", range(3), 2, 64, coils=3)
    few = ["steps=4", "iterations=3", "code_size=4", "extractor_depth=3", "gate=open"]
    config = load_config(None, [*SETTINGS, *few], method=method)
    run = train(config, [heads[0]], [heads[1]], tmp_path / "run")
    metrics = evaluate([run], [heads[2]], tmp_path / "out")
    assert all(np.isfinite(values["psnr"].mean) for values in metrics.methods.values())


def test_joint_beats_zero_filling_and_files_are_reconstructed(tmp_path: Path, run_cli) -> None:  # type: ignore[no-untyped-def]
    heads = write_heads(tmp_path / "heads", range(3), 3, 64, coils=4)
    config = load_config(None, [*SETTINGS, "steps=60"], method="joint")
    run = train(config, [heads[0]], [heads[1]], tmp_path / "run")
    scores = evaluate([run], [heads[2]], tmp_path / "out").methods
    assert scores["joint"]["psnr"].mean > scores["zero-filled"]["psnr"].mean + 0.5
    kspace = np.load(heads[2])
    np.save(tmp_path / "scan.npy", kspace * LINES.numpy())
    code, out, _ = run_cli("reconstruct", run, tmp_path / "scan.npy", "--out", tmp_path / "images", "--adapt", 10)
    assert code == 0, out
    image = np.load(tmp_path / "images" / "scan.npy")
    made = with_maps(read_scan(tmp_path / "scan.npy", config.reading), config)
    direct = Reconstructor.load(run)(made.kspace, made.mask, made.maps)
    assert image.shape == direct.shape == (3, 64, 64)
    truth = np.sqrt((np.abs(np.fft.ifft2(kspace, norm="ortho")) ** 2).sum(1))
    assert np.abs(image).max() == pytest.approx(truth.max(), rel=0.3)  # in the scan's own units


def test_units_survive_whitening() -> None:
    random = np.random.RandomState(0)
    noise = 1e-3 * (random.normal(size=(4, 2000)) + 1j * random.normal(size=(4, 2000)))
    kspace = coil_kspace(1)
    made = with_maps(scan(kspace, noise=noise.astype(np.complex64)), load_config(None, SETTINGS))
    image = Encoding(torch.ones(64, 64, dtype=torch.bool), made.sensitivity(0)).H(torch.from_numpy(made.kspace[0]))
    assert float(image.abs().max()) == pytest.approx(float(np.abs(blob_images(1, 2)[0]).max()), rel=0.05)


def test_trust_of_several_coils_is_that_of_one_combined_error() -> None:
    random = torch.Generator().manual_seed(0)
    mask = torch.rand(1, 64, 64, generator=random) < 0.5
    maps = torch.from_numpy(simulate_maps(8, (64, 64)))[None]
    encoding = Encoding(mask, Sensitivity(maps))
    noise = 0.1 * torch.randn(1, 8, 64, 64, dtype=torch.complex64, generator=random) * 2**0.5
    off = 0.3 * torch.randn(1, 64, 64, dtype=torch.complex64, generator=random)  # e² = 0.09
    assert float(trust(off, noise * mask[:, None], encoding)) == pytest.approx(0.09 / (0.09 + 0.02), abs=0.06)


def test_geometric_compression_wants_whole_columns(tmp_path: Path) -> None:
    settings = ["coils=2", "coil_compression=geometric", "mask.center_fraction=0.2"]
    with pytest.raises(DataError, match="whole columns"):
        with_maps(scan(coil_kspace(1)), load_config(None, settings))


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    heads = write_heads(tmp_path / "heads", range(2), 2, 64, coils=3)
    shared = ["network=unrolled", "refiner=generator", "cascade_weights=shared", "steps=2"]
    with pytest.raises(ConfigError, match="several coils reconstructs measured images alone"):
        train(load_config(None, [*SETTINGS, *shared], method="switchable"), [heads[0]], [heads[1]], tmp_path / "a")
    magnitude = [*SETTINGS, "network=paper", "representation=magnitude", "steps=2"]
    with pytest.raises(ConfigError, match="magnitudes are not what was measured"):
        train(load_config(None, magnitude, method="self-supervised"), [], [heads[1]], tmp_path / "b")
    one = write_heads(tmp_path / "one", range(3, 4), 2, 64)
    with pytest.raises(ConfigError, match="the fully sampled scans have one coil and the undersampled ones several"):
        train(load_config(None, [*SETTINGS, "steps=2"], method="joint"), one, [heads[1]], tmp_path / "d")
    soft = ["data_consistency=soft", "matrix=64", "steps=2", "method=joint"]
    with pytest.raises(ConfigError, match="'soft' has nothing to weigh"):
        train(load_config(None, soft), one, write_heads(tmp_path / "two", range(4, 5), 2, 64), tmp_path / "e")
    for coils in (8, 1):  # compressed to one, slices still have a map
        with pytest.raises(DataError, match="do not mix one and several"):
            train(
                load_config(None, [*SETTINGS, f"coils={coils}"], method="joint"),
                [heads[0], *one],
                [heads[1]],
                tmp_path / "c",
            )


def test_lines_for_calibration_alone_give_maps_and_no_samples(tmp_path: Path) -> None:
    kspace = coil_kspace(1, 1)[0].numpy()
    image, extra = list(range(0, 64, 2)), list(range(21, 44, 2))
    readouts = [*lines_of(kspace, image), *lines_of(kspace, extra, flags=[20])]
    path = write_mrd(tmp_path / "scan.mrd", header((64, 64, 1), encoded_field=(200, 200, 5)), readouts)
    found = read_scan(path)
    assert found.mask is not None
    assert found.calibration is not None
    assert found.mask[0, 0].nonzero()[0].tolist() == image
    np.testing.assert_array_equal(found.kspace[0][..., extra], 0)
    np.testing.assert_allclose(found.calibration[0][..., sorted(image + extra)], kspace[..., sorted(image + extra)])
    half, full = with_maps(found, Config()), with_maps(scan(coil_kspace(1, 1)), load_config(None, SETTINGS))
    assert half.maps is not None
    assert full.maps is not None
    inside = np.abs(blob_images(1, 1)[0]) > 0.3
    assert np.median(np.abs(half.maps - full.maps)[0][:, inside]) < 0.05
    small = with_maps(found.resized((48, 48)), load_config(None, ["coils=2"]))
    assert small.kspace.shape == (1, 2, 48, 48)


def test_sixty_four_coils_and_a_phantom_of_three(tmp_path: Path, run_cli) -> None:  # type: ignore[no-untyped-def]
    heads = write_heads(tmp_path / "heads", range(1), 1, 64)
    run = train(load_config(None, [*SETTINGS, "steps=2"], method="simulated"), heads, [], tmp_path / "run")
    maps = torch.from_numpy(simulate_maps(64, (64, 64)))
    kspace = fourier(torch.from_numpy(blob_images(1, 1))[:, None] * maps)
    image = Reconstructor.load(run, data_consistency="soft")(kspace, LINES, maps[None])
    assert image.shape == (1, 64, 64)
    assert image.isfinite().all()
    arguments = ["--out", tmp_path / "a.png", "--matrix", 64, "--slices", 2, "--save", tmp_path / "k", "--coils", 3]
    assert run_cli("phantom", *arguments)[0] == 0
    assert {np.load(file).shape for file in (tmp_path / "k").iterdir()} == {(2, 3, 64, 64)}
