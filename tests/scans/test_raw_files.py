"""Raw k-space in fastMRI, BART, NumPy and Siemens files, and the commands ``inspect`` and ``convert``."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.experiments.recipe import load_recipe
from switchrecon.metrics.conventions import seen
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.scans import twix
from switchrecon.scans.bart import write_bart
from switchrecon.scans.convert import writers, zero_filled_images
from switchrecon.scans.files import find_files, read_scan, recognise
from switchrecon.scans.mrd import scan_of_readouts
from switchrecon.scans.writing import write_images
from tests.conftest import blob_images, shared_file
from tests.scans.mrd_files import header, lines_of, random_kspace, readout, write_mrd

Cli = Callable[..., tuple[int, str, str]]
LINES = np.zeros(12, dtype=bool)
LINES[[1, 3, 5, 6, 7, 10]] = True


def coil_kspace(slices: int = 2, coils: int = 3, side: int = 32) -> np.ndarray:
    """K-space (slices, coils, side, side) of discs seen by coils with smooth sensitivities."""
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    maps = np.stack([np.exp(-((rows - np.cos(c)) ** 2) - (columns - np.sin(c)) ** 2 + 1j * c) for c in range(coils)])
    images = blob_images(0, slices, side)[:, None] * maps
    return fourier(torch.from_numpy(images.astype(np.complex64))).numpy()


def write_fastmri(path: Path, kspace: np.ndarray, xml: str | None = None, mask: np.ndarray | None = None) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if xml is not None:
            file["ismrmrd_header"] = xml.encode()
        if mask is not None:
            file["mask"] = mask
    return path


# fastMRI


def test_multi_coil_fastmri(tmp_path: Path) -> None:
    kspace = random_kspace(2, 3, 16, 12)
    scan = read_scan(write_fastmri(tmp_path / "a.h5", kspace, mask=LINES))
    assert (scan.coils, scan.matrix) == (3, (16, 12))
    np.testing.assert_array_equal(scan.kspace, kspace * LINES)
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(LINES, (2, 16, 12)))
    zeros = read_scan(write_fastmri(tmp_path / "b.h5", kspace * LINES))
    np.testing.assert_array_equal(zeros.mask, scan.mask)
    one = read_scan(write_fastmri(tmp_path / "c.h5", kspace[:, :1]))
    np.testing.assert_array_equal(one.kspace[:, 0], kspace[:, 0])
    with pytest.raises(DataError, match=r"'mask' has shape \(11,\), expected \(12,\)"):
        read_scan(write_fastmri(tmp_path / "d.h5", kspace, mask=np.ones(11)))


def test_padded_columns_of_fastmri_are_never_measured(tmp_path: Path) -> None:
    kspace = random_kspace(2, 3, 16, 12)  # with rubbish where the padding should be
    xml = header((16, 12, 1), centre=(4, 0)).replace("<maximum>11</maximum>", "<maximum>8</maximum>")
    inside = (np.arange(12) >= 2) & (np.arange(12) <= 10)
    scan = read_scan(write_fastmri(tmp_path / "a.h5", kspace, xml, LINES))
    assert scan.mask is not None
    np.testing.assert_array_equal(scan.mask[0, 0], LINES & inside)
    np.testing.assert_array_equal(scan.kspace, kspace * (LINES & inside))
    scan = read_scan(write_fastmri(tmp_path / "b.h5", kspace, xml, np.ones(12)))
    assert scan.mask is None
    np.testing.assert_array_equal(scan.kspace, kspace * inside)
    scan = read_scan(write_fastmri(tmp_path / "c.h5", kspace * LINES, xml))
    assert scan.mask is not None
    np.testing.assert_array_equal(scan.mask[0, 0], LINES & inside)


def test_oversampling_of_fastmri_is_removed_where_the_header_knows_both_fields_of_view(tmp_path: Path) -> None:
    images = blob_images(0, 2, 64)
    kspace = fourier(torch.from_numpy(images)).numpy()
    known = header((64, 64, 1), (32, 32, 1), encoded_field=(440, 220, 3), recon_field=(220, 220, 3))
    lines = np.arange(64) % 3 == 0
    scan = read_scan(write_fastmri(tmp_path / "a.h5", kspace, known))
    expected = inverse_fourier(torch.from_numpy(scan.kspace)).numpy()
    np.testing.assert_allclose(expected[:, 0], images[:, 16:48], atol=1e-5)
    scan = read_scan(write_fastmri(tmp_path / "b.h5", kspace, known, lines))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(lines, (2, 32, 64)))
    assert not scan.kspace[..., ~lines].any()
    points = np.random.RandomState(0).uniform(size=(64, 64)) < 0.5  # skips samples of a readout: left as it is
    assert read_scan(write_fastmri(tmp_path / "c.h5", kspace, known, points)).matrix == (64, 64)
    unknown = header((64, 64, 1), (32, 32, 1))
    scan = read_scan(write_fastmri(tmp_path / "d.h5", kspace, unknown))
    np.testing.assert_array_equal(scan.kspace[:, 0], kspace)


def test_the_fastmri_recipe_keeps_the_proportions_of_a_knee(tmp_path: Path) -> None:
    """A disc of 100 mm, in 640x368 samples of a field of 280x161 mm, as that data set's knees are encoded."""
    rows, columns = (np.arange(n) * size / n - size / 2 for n, size in ((640, 280), (368, 161)))
    disc = (np.hypot(rows[:, None], columns[None, :]) < 50).astype(np.float32)[None]
    xml = header((640, 368, 1), (320, 320, 1), encoded_field=(280, 161, 4.5), recon_field=(140, 140, 4.5))
    path = write_fastmri(tmp_path / "knee.h5", fourier(torch.from_numpy(disc)).numpy(), xml)
    config = load_recipe("fastmri-x4").config("center-0.08", "switchable", 0)
    scan = read_scan(path, config.reading).resized(config.matrix)
    assert scan.matrix == (320, 368)
    assert (np.abs(scan.kspace[0, 0]).max(1) > 0).all()  # no row is padding
    image = np.abs(inverse_fourier(torch.from_numpy(scan.kspace[0, 0])).numpy()) > 0.5
    sides = image.any(1).sum(), image.any(0).sum()
    assert abs(int(sides[0]) - int(sides[1])) <= 2, sides
    assert seen(image[None].astype(np.float32), "fastmri").shape == (1, 320, 320)


def test_a_header_that_would_expand_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.h5: the ISMRMRD header declares a document type"):
        read_scan(write_fastmri(tmp_path / "a.h5", coil_kspace(), "<!DOCTYPE a><a/>"))


def test_real_multi_coil_file() -> None:
    path = shared_file("data/raw/espirit_brain_alias_8ch_fullysampled.h5")
    scan = read_scan(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(scan.kspace, file["kspace"][()])
    assert (scan.kspace.shape, scan.mask) == ((1, 8, 320, 256), None)


# BART


def bart(*arguments: object, folder: Path) -> None:
    if not shutil.which("bart"):
        pytest.skip("Debian's bart is not installed")
    subprocess.run(["bart", *map(str, arguments)], check=True, capture_output=True, cwd=folder)


def test_k_space_of_bart_and_images_back(tmp_path: Path) -> None:
    bart("phantom", "-k", "-s", 3, "-x", 48, "kspace", folder=tmp_path)
    bart("fft", "-iu", 3, "kspace", "images", folder=tmp_path)
    scan = read_scan(tmp_path / "kspace")
    assert (scan.kspace.shape, scan.mask) == ((1, 3, 48, 48), None)
    ours = inverse_fourier(torch.from_numpy(scan.kspace)).numpy()
    theirs = read_scan(tmp_path / "images.hdr").kspace
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    write_bart(ours, tmp_path / "written.cfl")
    bart("nrmse", "-t", 1e-6, "images", "written", folder=tmp_path)
    bart("fft", "-u", 3, "written", "again", folder=tmp_path)
    again = read_scan(tmp_path / "again.cfl").kspace
    np.testing.assert_allclose(again, scan.kspace, atol=1e-5 * np.abs(again).max())


def test_bart_files_by_any_of_their_names(tmp_path: Path) -> None:
    kspace = random_kspace(4, 2, 16, 12) * LINES
    write_bart(kspace, tmp_path / "a.v2.cfl")
    for name in ("a.v2", "a.v2.cfl", "a.v2.hdr"):
        (path,) = find_files([tmp_path / name])
        scan = read_scan(path)
        np.testing.assert_array_equal(scan.kspace, kspace)
        np.testing.assert_array_equal(scan.mask, np.broadcast_to(LINES, (4, 16, 12)))
        assert recognise(tmp_path / name).name == "BART"
    assert find_files([tmp_path]) == [tmp_path / "a.v2.cfl"]
    written = write_images(scan, np.ones((4, 16, 12)), tmp_path / "out")
    assert (written.name, read_scan(written).kspace.shape) == ("a.v2.cfl", (4, 1, 16, 12))
    assert (tmp_path / "out" / "a.v2.hdr").read_text().splitlines()[1].split() == ["16", "12"] + ["1"] * 11 + list(
        "411"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Dimensions\n16 12 1 1\n", "has 3072 bytes; expected 1536 for dimensions 16x12"),
        ("# Dimensions\n16 12 2\n", "dimension 2 has 2 entries"),
        ("# Dimensions\n16 -12\n", "a line of whole numbers"),
        ("# Dimensions\n", "found 0 dimensions"),
        ("# Dimensions\n" + "1 " * 17, "found 17 dimensions"),
        ("# Dimensions\n16 0\n", "expected 1 to 16 positive numbers"),
        (f"# Dimensions\n{2**30} {2**30}\n", "the limit is"),
    ],
)
def test_bart_headers_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    write_bart(random_kspace(2, 16, 12), tmp_path / "a.cfl")
    (tmp_path / "a.hdr").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_scan(tmp_path / "a.cfl")
    assert "a." in str(error.value)


# NumPy


def test_multi_coil_npy_and_named_arrays_of_npz(tmp_path: Path) -> None:
    kspace = random_kspace(2, 3, 16, 12)
    np.save(tmp_path / "a.npy", kspace * LINES)
    scan = read_scan(tmp_path / "a.npy")
    assert scan.coils == 3
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(LINES, (2, 16, 12)))
    np.savez(tmp_path / "b.npz", kspace=kspace, mask=LINES, other=np.ones(3))
    named = read_scan(tmp_path / "b.npz")
    np.testing.assert_array_equal(named.kspace, scan.kspace)
    np.testing.assert_array_equal(named.mask, scan.mask)
    np.savez_compressed(tmp_path / "c.npz", whatever=kspace[:, :1])
    alone = read_scan(tmp_path / "c.npz")
    np.testing.assert_array_equal(alone.kspace[:, 0], kspace[:, 0])
    written = write_images(alone, kspace[:, 0], tmp_path / "out")
    assert written.name == "c.npy"
    np.testing.assert_array_equal(np.load(written), kspace[:, 0])


def test_npz_files_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kspace = random_kspace(2, 16, 12)
    np.savez(tmp_path / "two.npz", a=kspace, b=kspace)
    np.savez(tmp_path / "mask.npz", kspace=kspace, mask=np.ones(11))
    np.savez(tmp_path / "zero.npz", kspace=kspace, mask=np.zeros(12))
    np.savez(tmp_path / "pickle.npz", kspace=np.array([{}], dtype=object))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("kspace.npy", "w") as file:
            claimed = {"descr": "<c8", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
            np.lib.format.write_array_header_1_0(file, claimed)
        archive.writestr("long.npy", bytes(3_000_000))
    with (tmp_path / "bomb.npy").open("wb") as plain:
        np.lib.format.write_array_header_1_0(plain, claimed)
    cases = {
        "two.npz": "none is called 'kspace'; found a, b; name one",
        "mask.npz": r"'mask' has shape \(11,\), expected",
        "zero.npz": "all zero",
        "pickle.npz": "not a readable",
        "bomb.npz": "the limit is",
        "bomb.npy": "the limit is",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message) as error:
            read_scan(tmp_path / name)
        assert name in str(error.value)


# Siemens


def twix_blocks(module: Any, kspace: np.ndarray) -> list[Any]:
    """Measurement data blocks of (slices, coils, H, W): one reversed, one for noise, one for phase correction."""
    blocks = []
    for number, step in np.ndindex(len(kspace), kspace.shape[-1]):
        samples = kspace[number, ..., step]
        block = module.mdb.Mdb_local(samples[:, ::-1] if step == 3 else samples)
        block.mdh.Counter.Lin, block.mdh.Counter.Sli = step, number
        block.mdh.CenterCol, block.mdh.CenterLin = kspace.shape[-2] // 2, kspace.shape[-1] // 2
        if step == 3:
            block.add_flag("REFLECT")
        blocks.append(block)
    for flag in ("NOISEADJSCAN", "PHASCOR"):
        block = module.mdb.Mdb_local(random_kspace(kspace.shape[1], 40, seed=9))
        block.add_flag(flag)
        blocks.insert(0, block)
    return blocks


PROTOCOL = """### ASCCONV BEGIN ###
sKSpace.lBaseResolution = 16
sKSpace.lPhaseEncodingLines = 32
sKSpace.ucDimension = 2
sKSpace.ucTrajectory = 1
sSliceArray.asSlice[0].dReadoutFOV = 200
sSliceArray.asSlice[0].dPhaseFOV = 200
sSliceArray.asSlice[0].dThickness = 5
sRXSPEC.alDwellTime[0] = 5000
### ASCCONV END ###
"""


def write_twix(module: Any, path: Path, kspace: np.ndarray) -> Path:
    text = PROTOCOL.encode()
    named = b"MeasYaps\0" + len(text).to_bytes(4, "little") + text
    start = (8 + len(named)).to_bytes(4, "little") + (1).to_bytes(4, "little")
    scan = {"hdr_str": np.frombuffer(start + named, "S1"), "mdb": twix_blocks(module, kspace)}
    module.write_twix(scan, str(path))
    return path


def test_siemens_files_are_sorted_as_ismrmrd_files_are(tmp_path: Path) -> None:
    module = pytest.importorskip("twixtools")
    images = blob_images(0, 4, 32).reshape(2, 2, 32, 32)
    kspace = fourier(torch.from_numpy(images)).numpy()
    path = write_twix(module, tmp_path / "meas.dat", kspace)
    assert recognise(path).name == "Siemens raw data"
    scan = read_scan(path)
    found = inverse_fourier(torch.from_numpy(scan.kspace)).numpy()
    np.testing.assert_allclose(found, images[:, :, 8:24], atol=1e-5)
    assert scan.noise is not None
    np.testing.assert_allclose(scan.noise, random_kspace(2, 40, seed=9))
    assert scan.geometry.readouts == {"imaging": 64, "noise": 1, "phase correction": 1}
    assert scan.mask is scan.affine is None
    content = path.read_bytes()
    for percent in range(0, 100, 5):
        path.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(DataError, match=r"meas\.dat"):
            read_scan(path)


def test_siemens_files_without_twixtools_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (100).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"Config\0"
    (tmp_path / "vb.dat").write_bytes((40_000).to_bytes(4, "little") + text[4:] + bytes(200))
    entry = bytes(8) + (9736).to_bytes(8, "little") + (300).to_bytes(8, "little") + bytes(128)
    start = bytes(4) + (1).to_bytes(4, "little") + entry
    (tmp_path / "vd.dat").write_bytes(start + bytes(9736 - len(start)) + text + bytes(300 - len(text)))
    monkeypatch.setitem(sys.modules, "twixtools", None)
    for name in ("vb.dat", "vd.dat"):
        with pytest.raises(DataError, match=r"pip install 'switchrecon\[twix\]'; or convert .* siemens_to_ismrmrd"):
            read_scan(tmp_path / name)
    (tmp_path / "other.dat").write_bytes(bytes(4) + (1).to_bytes(4, "little") + bytes(2000))
    with pytest.raises(DataError, match="unknown kind of file"):
        read_scan(tmp_path / "other.dat")


def test_readout_blocks_of_siemens_files(tmp_path: Path) -> None:
    """Blocks as twixtools gives them, without twixtools: several measurements, three dimensions, calibration."""
    kspace = random_kspace(1, 2, 32, 8)[0]

    def block(samples: np.ndarray, *flags: str, **counters: int) -> SimpleNamespace:
        counter = SimpleNamespace(**dict.fromkeys(twix.COUNTERS.values(), 0) | counters)
        mdh = SimpleNamespace(
            Counter=counter, CutOff=SimpleNamespace(Pre=0, Post=0), CenterCol=16, CenterLin=4, CenterPar=0
        )
        image = not {"NOISEADJSCAN", "PATREFSCAN", "ACQEND"} & set(flags)
        return SimpleNamespace(
            data=samples, mdh=mdh, is_flag_set=lambda flag: flag in flags, is_image_scan=lambda: image
        )

    noise = [block(kspace[..., 0], "NOISEADJSCAN"), block(kspace[..., 1])]
    lines = [block(kspace[..., i], Lin=i, Ave=a) for i in range(0, 8, 2) for a in range(2)]
    lines += [block(kspace[..., 3], "PATREFSCAN", Lin=3), block(kspace[:, :0, 0], "ACQEND")]
    area = {"dReadoutFOV": 200, "dPhaseFOV": 100, "dThickness": 5}
    sizes = {"lBaseResolution": 16, "lPhaseEncodingLines": 8, "ucDimension": 2}
    protocol = {"sKSpace": sizes, "sSliceArray": {"asSlice": [area]}, "sPat": {"ucRefScanMode": 2}}
    measurements = [{"hdr": {}, "mdb": noise}, {"hdr": {"MeasYaps": protocol}, "mdb": lines}]
    head, readouts = twix.readouts_of(tmp_path, measurements)
    assert (head.encodings[0].encoded, head.encodings[0].recon) == ((32, 8, 1), (16, 8, 1))
    scan = scan_of_readouts(tmp_path / "a.dat", head, readouts)
    assert scan.mask is not None
    assert np.flatnonzero(scan.mask[0, 0]).tolist() == [0, 2, 3, 4, 6]
    np.testing.assert_array_equal(scan.noise, kspace[..., 0])
    with pytest.raises(DataError, match="the protocol does not say the matrix"):
        twix.readouts_of(tmp_path, [{"hdr": {}, "mdb": lines}])
    with pytest.raises(DataError, match="none of 1 readouts is for an image"):
        twix.readouts_of(tmp_path, [{"hdr": {}, "mdb": noise[:1]}])


# Truncation


def test_every_truncation_is_refused_by_name(tmp_path: Path) -> None:
    kspace = random_kspace(2, 3, 16, 12)
    write_bart(kspace, tmp_path / "a.cfl")
    np.save(tmp_path / "a.npy", kspace)
    np.savez_compressed(tmp_path / "a.npz", kspace=kspace)
    paths = [
        write_fastmri(tmp_path / "a.h5", kspace, header((16, 12, 1))),
        write_mrd(tmp_path / "a.mrd", header((16, 12, 1)), [line for own in kspace for line in lines_of(own)]),
        *(tmp_path / name for name in ("a.cfl", "a.npy", "a.npz")),
    ]
    for path in paths:
        content = path.read_bytes()
        for percent in range(0, 100, 3):
            path.write_bytes(content[: len(content) * percent // 100])
            with pytest.raises(DataError, match=path.name):
                read_scan(path)
        path.write_bytes(content)
        assert read_scan(path).coils == 3


# Commands


def test_inspect_says_what_is_there(tmp_path: Path, run_cli: Cli) -> None:
    kspace = coil_kspace(2, 3, 32)
    steps = [0, 4, 8, 12, 14, 15, 16, 17, 18, 20, 24, 28]
    readouts = [line for n in range(2) for line in lines_of(kspace[n], steps, slice=n)]
    readouts += [readout(kspace[0, ..., 0], [19]), readout(kspace[0, ..., 0], [24])]
    xml = header((32, 32, 1), encoded_field=(320, 160, 4))
    path = write_mrd(tmp_path / "scan.mrd", xml, readouts)
    code, out, _ = run_cli("inspect", path, "--picture", tmp_path / "scan.png")
    assert code == 0
    for part in (
        f"{path}: ISMRMRD, k-space",
        "2 slices, 3 coils, 32x32",
        "acceleration 2.67, fully measured centre of 5 lines (fraction 0.156)",
        "noise scan: 32 samples",
        "field of view 320 x 160 mm, voxel 10 x 5 x 4 mm, orientation unknown",
        "read: 24 imaging readouts, 1 noise readout",
        "skipped: 1 of phase correction",
        f"picture: {tmp_path / 'scan.png'}",
    ):
        assert part in out, part
    assert (tmp_path / "scan.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = run_cli("inspect", path, "--json")
    (facts,) = json.loads(out)
    assert (facts["coils"], facts["centre_lines"], facts["readouts"]["imaging"]) == (3, 5, 24)


def test_inspect_warns_of_images_and_goes_on_after_a_file_that_fails(tmp_path: Path, run_cli: Cli) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 8), np.float32), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "b.npy").write_text("nothing")
    code, out, err = run_cli("inspect", tmp_path)
    assert code == 3
    assert "warning: k-space is synthetic" in out
    assert "failed: " in err
    assert run_cli("inspect", tmp_path / "b.npy")[0] == 2
    assert "expected one" in run_cli("inspect", tmp_path, "--picture", tmp_path / "a.png")[2]


@pytest.mark.parametrize("ending", [end for end, format in writers().items() if format.write_kspace])
def test_converted_k_space_reads_back_the_same(tmp_path: Path, run_cli: Cli, ending: str) -> None:
    kspace = random_kspace(2, 3, 16, 12)
    xml = header((16, 12, 1), encoded_field=(160, 120, 4))
    readouts = [line for n in range(2) for line in lines_of(kspace[n], np.flatnonzero(LINES), slice=n)]
    scan = read_scan(write_mrd(tmp_path / "a.mrd", xml, readouts))
    target = tmp_path / "out" / f"a{ending}"
    code, out, _ = run_cli("convert", tmp_path / "a.mrd", target)
    assert (code, f"-> {target} (2x3x16x12" in out) == (0, True)
    again = read_scan(target)
    np.testing.assert_array_equal(again.kspace, kspace * LINES)
    np.testing.assert_array_equal(again.mask, scan.mask)
    if ending == ".h5":
        assert again.geometry.field_of_view == (160, 120)
        with h5py.File(target) as file:
            assert file["mask"].shape == (12,)
    assert "exists already" in run_cli("convert", tmp_path / "a.mrd", target)[2]
    assert run_cli("convert", tmp_path / "a.mrd", target, "--overwrite")[0] == 0
    assert "is the scan itself" in run_cli("convert", target, target, "--overwrite")[2]


def test_one_coil_keeps_its_dimension_when_converted(tmp_path: Path, run_cli: Cli) -> None:
    np.save(tmp_path / "a.npy", random_kspace(2, 16, 12))
    run_cli("convert", tmp_path / "a.npy", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["kspace"].shape == (2, 1, 16, 12)
    np.testing.assert_array_equal(read_scan(tmp_path / "b.h5").kspace[:, 0], np.load(tmp_path / "a.npy"))


def test_convert_refuses_what_it_cannot_write(tmp_path: Path, run_cli: Cli) -> None:
    np.save(tmp_path / "a.npy", random_kspace(2, 16, 12))
    (tmp_path / "folder.npy").mkdir()
    for name, message in (("b.txt", "expected a name"), ("folder.npy", "a folder")):
        code, _, err = run_cli("convert", tmp_path / "a.npy", tmp_path / name)
        assert code == 2
        assert message in err
        assert not (tmp_path / name).is_file()
    assert run_cli("convert", tmp_path / "absent.npy", tmp_path / "c.npy")[0] == 2


def test_the_zero_filled_image_is_the_root_of_the_sum_of_squares() -> None:
    kspace = coil_kspace()
    scan = SimpleNamespace(kspace=kspace, matrix=(32, 32))
    images = np.abs(inverse_fourier(torch.from_numpy(kspace)).numpy())
    np.testing.assert_allclose(zero_filled_images(scan, [1])[0], np.sqrt((images[1] ** 2).sum(0)), rtol=1e-5)  # type: ignore[arg-type]


# Patients


CANARY = "CANARY"
PLANTED = "".join(
    f"<{group}>{''.join(f'<{name}>{CANARY}{name}</{name}>' for name in names)}</{group}>"
    for group, names in {
        "subjectInformation": ["patientName", "patientID", "patientBirthdate", "patientGender", "patientWeight_kg"],
        "studyInformation": [
            *("studyDate", "studyTime", "studyID", "accessionNumber", "referringPhysicianName", "studyDescription"),
            *("studyInstanceUID", "bodyPartExamined"),
        ],
        "measurementInformation": [
            *("measurementID", "seriesDate", "seriesTime", "patientPosition", "initialSeriesNumber", "protocolName"),
            *("sequenceName", "seriesDescription", "seriesInstanceUIDRoot", "frameOfReferenceUID"),
        ],
        "acquisitionSystemInformation": [
            *("systemVendor", "systemModel", "institutionName", "stationName", "deviceID", "deviceSerialNumber"),
        ],
    }.items()
)


def test_nothing_of_the_patient_is_in_any_output(tmp_path: Path, run_cli: Cli) -> None:
    parameter = f"<name>a</name><value>{CANARY}</value>"
    user = f"<userParameters><userParameterString>{parameter}</userParameterString></userParameters>"
    kspace = coil_kspace(2, 2, 32)
    xml = header((32, 32, 1), encoded_field=(320, 320, 4), before=PLANTED, trajectory="cartesian").replace(
        "</ismrmrdHeader>", f"{user}</ismrmrdHeader>"
    )
    good = write_mrd(tmp_path / "good.mrd", xml, lines_of(kspace[0]), f"{CANARY}-group")
    bad = [
        write_mrd(tmp_path / "trajectory.mrd", xml.replace(">cartesian<", f">{CANARY}<"), lines_of(kspace[0])),
        write_mrd(tmp_path / "number.mrd", xml.replace("<x>32</x>", f"<x>{CANARY}</x>"), lines_of(kspace[0])),
        write_mrd(tmp_path / "xml.mrd", xml[:-20] + f"<{CANARY}>", lines_of(kspace[0])),
    ]
    said = []
    for arguments in (["inspect", good, "--picture", tmp_path / "a.png"], ["inspect", good, "--json"]):
        said += run_cli(*arguments)[1:]
    said += run_cli("inspect", *bad)[1:]
    written = [tmp_path / f"out{ending}" for ending in (".npy", ".h5", ".cfl")]
    for target in written:
        code, *words = run_cli("convert", good, target)
        assert code == 0
        said += words
    assert sum("failed: " in line for line in "\n".join(said).splitlines()) == len(bad)
    assert CANARY not in "".join(said)
    for target in [*written, tmp_path / "out.hdr", tmp_path / "a.png"]:
        assert CANARY.encode() not in target.read_bytes()
    assert CANARY not in read_scan(good).subject


@pytest.mark.parametrize(("name", "written"), [("b.nii.gz", "b.nii.gz"), ("b.png", "b-png"), ("b.dcm", "b-dcm")])
def test_convert_writes_the_zero_filled_image(tmp_path: Path, run_cli: Cli, name: str, written: str) -> None:
    np.save(tmp_path / "a.npy", random_kspace(2, 3, 16, 12))
    code, out, _ = run_cli("convert", tmp_path / "a.npy", tmp_path / name)
    target = tmp_path / written
    folder = ", a folder with a file for each slice" if target.is_dir() else ""
    assert (code, f"-> {target}{folder} (" in out) == (0, True)
    assert target.is_dir() == (name != "b.nii.gz")
    expected = zero_filled_images(read_scan(tmp_path / "a.npy"), range(2))
    if name == "b.nii.gz":
        assert float(nibabel.load(target).get_fdata().max()) == pytest.approx(float(expected.max()))
    else:
        assert len(list(target.iterdir())) == 2
    assert "exists already" in run_cli("convert", tmp_path / "a.npy", tmp_path / name)[2]
