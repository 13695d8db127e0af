"""Reconstruction from Python and of files: shapes, units, scale, estimates, data consistency."""

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from switchrecon import Reconstructor
from switchrecon.config import Config
from switchrecon.errors import ConfigError, DataError, RunError
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.masks import draw_mask
from switchrecon.reconstruction.files import parse_undersampling, reconstruct_files
from switchrecon.runs.checkpoint import load_model
from tests.conftest import blob_images, tiny_config

Trained = Callable[..., Path]
MakeScan = Callable[..., Path]
KSPACE = fourier(torch.from_numpy(blob_images(9, 2))).numpy()
MASK = draw_mask(tiny_config().mask, (64, 64), volume="test", index=0)


def test_the_code_generator_is_not_needed(trained: Trained) -> None:
    tensors, card = load_model(trained() / "model.safetensors")
    assert card.adaptive
    assert {name.split(".")[0] for name in tensors} == {"generator", "extractor"}
    assert not [name for name in tensors if "code" in name or "means" in name]
    assert np.isfinite(Reconstructor.load(trained())(KSPACE, MASK)).all()


@pytest.mark.parametrize("representation", ["complex", "magnitude"])
def test_shapes_types_and_leading_dimensions(trained: Trained, representation: str) -> None:
    reconstructor = Reconstructor.load(trained("switchable", representation))
    image = reconstructor(KSPACE, MASK)
    assert image.shape == KSPACE.shape
    assert image.dtype == (np.complex64 if representation == "complex" else np.float32)
    np.testing.assert_array_equal(reconstructor(KSPACE[0], MASK), image[0])
    np.testing.assert_array_equal(reconstructor(KSPACE[None], MASK[None, None]), image[None])
    found = reconstructor(torch.from_numpy(KSPACE), torch.from_numpy(MASK))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), image)
    np.testing.assert_array_equal(reconstructor(KSPACE.astype(np.complex128), MASK.astype(float)), image)
    np.testing.assert_array_equal(reconstructor(KSPACE.astype(">c8"), MASK.astype(">f8")), image)
    lines = MASK[0] | (np.abs(np.arange(64) - 32) < 3)
    assert reconstructor(KSPACE, lines).shape == KSPACE.shape


def test_unmeasured_samples_are_ignored(trained: Trained) -> None:
    reconstructor = Reconstructor.load(trained(), data_consistency="hard")
    np.testing.assert_array_equal(reconstructor(KSPACE, MASK), reconstructor(KSPACE * MASK, MASK))


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e6, 1e12])
def test_units_are_those_of_k_space(trained: Trained, factor: float) -> None:
    reconstructor = Reconstructor.load(trained(), estimate="ensemble", data_consistency="hard")
    image = reconstructor(KSPACE, MASK)
    scaled = reconstructor((KSPACE * factor).astype(np.complex64), MASK) / factor
    assert np.abs(scaled - image).max() < 1e-5 * np.abs(image).max()


def test_ensemble_is_the_clipped_mean_of_generator_and_residual(trained: Trained) -> None:
    reconstructor = Reconstructor.load(trained(), estimate="ensemble")
    x = torch.randn(1, 2, 64, 64)
    assert reconstructor.extractor is not None
    with torch.no_grad():
        expected = (0.5 * reconstructor.generator(x) + 0.5 * (x - reconstructor.extractor(x))).clamp(-1, 1)
        found = reconstructor._estimate(x, torch.ones(1, 64, 64, dtype=torch.bool))
    torch.testing.assert_close(found, expected)
    assert found.abs().max() == 1  # x itself reaches beyond 1


@pytest.mark.parametrize("representation", ["complex", "magnitude"])
def test_hard_data_consistency(trained: Trained, representation: str) -> None:
    reconstructor = Reconstructor.load(trained("switchable", representation), data_consistency="hard")
    image = reconstructor(KSPACE, MASK)
    if representation == "complex":
        restored = fourier(torch.from_numpy(image)).numpy()
        assert np.abs((restored - KSPACE) * MASK).max() < 1e-5 * np.abs(KSPACE).max()
    full = reconstructor(KSPACE, np.ones((64, 64)))
    truth = inverse_fourier(torch.from_numpy(KSPACE)).numpy()
    expected = truth if representation == "complex" else np.abs(truth)
    np.testing.assert_allclose(full, expected, atol=1e-5 * np.abs(truth).max())


def test_a_slice_alone_gives_what_it_gives_in_its_volume_and_an_empty_one_gives_zeros(trained: Trained) -> None:
    reconstructor = Reconstructor.load(trained())
    volume = np.concatenate([KSPACE, np.zeros((1, 64, 64)), 1000 * KSPACE[:1]]).astype(np.complex64)
    image = reconstructor(volume, MASK)
    np.testing.assert_array_equal(image[1], reconstructor(volume[1], MASK))
    np.testing.assert_array_equal(image[3], reconstructor(volume[3:], MASK)[0])
    assert not image[2].any()


def test_bad_calls_are_explained(trained: Trained, tmp_path: Path) -> None:
    reconstructor = Reconstructor.load(trained())
    bad = KSPACE.copy()
    bad[0, 0, 0] = np.nan
    cases = [
        (KSPACE.real, MASK, "expected complex"),
        (KSPACE[0, 0], MASK[0], r"shape \(64,\); expected complex \(..., H, W\)"),
        (bad, MASK, "NaN or infinity"),
        (KSPACE, MASK[:, :40], r"mask of shape \(64, 40\) does not fit images"),
        (KSPACE, np.zeros_like(MASK), "mask is all zero"),
        (KSPACE[:0], MASK[:1], r"shape \(0, 64, 64\), no sample"),
        (np.ones((64, 80), np.complex64), np.ones(80), "matrix of 64x80, but the run was trained at 64x64"),
    ]
    for kspace, mask, message in cases:
        with pytest.raises(DataError, match=message):
            reconstructor(kspace, mask)
    with pytest.raises(ConfigError, match=r"unknown estimate 'ensembel'; did you mean 'ensemble'\?"):
        Reconstructor.load(trained(), estimate="ensembel")
    with pytest.raises(ConfigError, match="needs the extractor H, which method 'simulated' has not"):
        Reconstructor.load(trained("simulated"), estimate="ensemble")
    with pytest.raises(RunError, match="no such run folder"):
        Reconstructor.load(tmp_path / "absent")
    with pytest.raises(RunError, match="no trained model here"):
        Reconstructor.load(tmp_path)


def test_a_damaged_or_foreign_model_is_refused(trained: Trained, tmp_path: Path) -> None:
    content = (trained() / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match="checksum does not match"):
        Reconstructor.load(tmp_path)
    for foreign in (content[: len(content) // 2], b"", b"\x80\x04K\x01."):
        (tmp_path / "model.safetensors").write_bytes(foreign)
        with pytest.raises(RunError, match="not a readable model"):
            Reconstructor.load(tmp_path)


def test_another_matrix_is_allowed_on_request_and_keeps_its_measured_samples(trained: Trained) -> None:
    large = fourier(torch.from_numpy(blob_images(9, 1, 80))).numpy()
    mask = draw_mask(tiny_config().mask, (80, 80), volume="large", index=0)
    image = Reconstructor.load(trained(), data_consistency="hard", resize=True)(large, mask)
    assert image.shape == (1, 80, 80)
    restored = fourier(torch.from_numpy(image)).numpy()
    assert np.abs((restored - large) * mask).max() < 1e-5 * np.abs(large).max()


# Files


def test_each_format_comes_back_as_itself(trained: Trained, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    sampled = KSPACE * MASK
    np.save(scans / "a.npy", sampled)
    with h5py.File(scans / "b.h5", "w") as file:
        file["kspace"] = sampled
    volume = np.abs(blob_images(9, 2)).transpose(1, 2, 0).copy()
    affine = np.diag([-1.5, 1.5, 4, 1])
    for name in ("c.nii.gz", "c.nii"):
        nibabel.save(nibabel.Nifti1Image(volume, affine), scans / name)
    reconstructor = Reconstructor.load(trained())
    out = tmp_path / "out"
    outcomes = reconstruct_files(reconstructor, [scans], out, undersample="run")
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert outcomes[0].acceleration == pytest.approx(MASK.size / MASK.sum())
    assert all(2 < outcome.acceleration < 6 for outcome in outcomes)
    image = reconstructor(KSPACE, MASK)
    np.testing.assert_array_equal(np.load(out / "a.npy"), image)
    with h5py.File(out / "b.h5") as file:
        np.testing.assert_allclose(file["reconstruction"][()], np.abs(image))
    for name in ("c.nii.gz", "c.nii"):
        written = nibabel.load(out / name)
        assert written.shape == volume.shape
        np.testing.assert_allclose(written.affine, affine)
    maps = ["a_desc-invented.npy", "c_desc-invented.nii", "c_desc-invented.nii.gz"]
    assert sorted(p.name for p in out.iterdir()) == sorted(["a.npy", "b.h5", "c.nii", "c.nii.gz", *maps])
    with pytest.raises(DataError, match="exists already"):
        reconstruct_files(reconstructor, [scans / "c.nii"], out, undersample="run")


def test_a_fully_sampled_scan_is_refused_and_does_not_stop_the_others(
    trained: Trained, tmp_path: Path, make_scan: MakeScan
) -> None:
    full, fast = make_scan("scans", 1), make_scan("scans", 2, mask=MASK)
    np.save(tmp_path / "scans" / "image.npy", np.abs(blob_images(3)))
    outcomes = reconstruct_files(Reconstructor.load(trained()), [tmp_path / "scans"], tmp_path / "out")
    assert [outcome.scan.name for outcome in outcomes] == ["image.npy", "subject1.npy", "subject2.npy"]
    assert "holds an image, there is nothing to reconstruct" in str(outcomes[0].error)
    assert f"{full}: holds fully sampled k-space" in str(outcomes[1].error)
    assert outcomes[2].written == tmp_path / "out" / fast.name
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"subject2.npy", "subject2_desc-invented.npy"}


def test_outputs_are_not_overwritten(trained: Trained, tmp_path: Path, make_scan: MakeScan) -> None:
    scan = make_scan("scans", 2, mask=MASK)
    reconstructor = Reconstructor.load(trained())
    reconstruct_files(reconstructor, [scan], tmp_path / "out")
    with pytest.raises(DataError, match="exists already; add --overwrite"):
        reconstruct_files(reconstructor, [scan], tmp_path / "out")
    reconstruct_files(reconstructor, [scan], tmp_path / "out", overwrite=True)
    with pytest.raises(DataError, match="exists already; choose another --out"):
        reconstruct_files(reconstructor, [scan], scan.parent, overwrite=True)
    with pytest.raises(DataError, match="have one name"):
        reconstruct_files(reconstructor, [scan, make_scan("again", 2, mask=MASK)], tmp_path / "new")


def test_the_noise_of_a_scan_is_told(
    trained: Trained, tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    random = np.random.default_rng(0)
    images = blob_images(7)
    kspace = fourier(torch.from_numpy(images)).numpy()
    level = 0.05 * np.abs(images).max()
    noise = random.normal(scale=level, size=(2, *kspace.shape))
    mask = np.stack([draw_mask(Config().mask, (64, 64), volume="v", index=i) for i in range(len(kspace))])
    np.save(tmp_path / "noisy.npy", ((kspace + noise[0] + 1j * noise[1]) * mask).astype(np.complex64))
    code, out, err = run_cli("reconstruct", trained(), tmp_path / "noisy.npy", "--out", tmp_path / "out")
    assert code == 0, err
    told = re.search(r"noise at most ([\d.]+)% of the brightest pixel", out)
    assert told is not None
    brightest = np.abs(np.load(tmp_path / "out" / "noisy.npy")).max()
    assert float(told[1]) == pytest.approx(100 * level / brightest, rel=0.2)
    code, out, err = run_cli("inspect", tmp_path / "noisy.npy")
    assert "noise of the middle slice at most " in out


def test_how_to_undersample() -> None:
    config = tiny_config("mask.acceleration=6")
    assert parse_undersampling("run", config).acceleration == 6
    parsed = parse_undersampling("random-1d:4:0.1", config)
    assert (parsed.kind, parsed.acceleration, parsed.center_fraction) == ("random-1d", 4, 0.1)
    for text in ("4", "random-1d:4", "random:4:0.1", "random-1d:x:0.1"):
        with pytest.raises(ConfigError):
            parse_undersampling(text, config)


@pytest.mark.parametrize("side", [48, 128])
def test_the_network_works_at_the_matrix_of_the_scan(trained: Trained, side: int) -> None:
    """As one that was trained there would: nothing is cropped, and k-space outside the run's matrix is not empty."""
    loaded = Reconstructor.load(trained("simulated", "complex"), resize=True)
    kspace = fourier(torch.from_numpy(blob_images(9, 1, side))).numpy()
    mask = draw_mask(tiny_config().mask, (side, side), volume="v", index=0)
    image = loaded(kspace, mask)
    there = loaded.card.model_copy(update={"matrix": (side, side)})
    same = Reconstructor(loaded.generator, None, loaded.config, there, resize=False)(kspace, mask)
    assert np.array_equal(image, same)
    if side > 64:
        energy = np.abs(fourier(torch.from_numpy(image)).numpy()) ** 2
        energy[..., 32:96, 32:96] = 0
        assert energy.sum() > 0
    coils = np.stack([np.full((side, side), 0.6 + 0j), np.full((side, side), 0.8j)]).astype(np.complex64)
    several = kspace[:, None] * coils[:, :1, :1]
    assert loaded(several, mask, coils[None]).shape == (1, side, side)


def test_a_scan_unlike_those_of_the_training_is_told(trained: Trained, tmp_path: Path, messages: list[str]) -> None:
    loaded = Reconstructor.load(trained(), resize=True)  # points at acceleration 4, 64x64
    lines = np.abs(np.arange(80) - 40) < 4
    lines[::7] = True
    kspace = fourier(torch.from_numpy(blob_images(9, 2, 80))).numpy()
    np.save(tmp_path / "lines.npy", kspace * lines)
    np.save(tmp_path / "points.npy", KSPACE * MASK)
    (outcome,) = reconstruct_files(loaded, [tmp_path / "lines.npy"], tmp_path / "a", "run")
    own, warning = outcome.sentences[1:3]
    assert own.startswith("the network worked at the scan's own matrix 80x80, where nothing of it was measured")
    assert warning.startswith("warning: the scan has measured lines at acceleration 4.")
    assert "the run has learned from points at 4.0" in warning
    [said] = messages
    assert "lines.npy: is undersampled already" in said
    assert "--undersample does nothing to it" in said
    (outcome,) = reconstruct_files(loaded, [tmp_path / "points.npy"], tmp_path / "b")
    assert len(outcome.sentences) == 1


def test_a_larger_image_is_reconstructed_at_its_matrix(trained: Trained, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.abs(blob_images(3, 1, 128))[0])
    refused = reconstruct_files(Reconstructor.load(trained()), [tmp_path / "image.npy"], tmp_path / "out", "run")
    assert "matrix of 128x128, but the run was trained at 64x64; to let its network" in str(refused[0].error)
    assert "add --resize (in Python resize=True)" in str(refused[0].error)
    loaded = Reconstructor.load(trained(), resize=True)
    [outcome] = reconstruct_files(loaded, [tmp_path / "image.npy"], tmp_path / "out", "run")
    assert outcome.written is not None
    assert np.load(outcome.written).shape == (128, 128)
