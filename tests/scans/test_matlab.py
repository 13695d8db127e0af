"""MATLAB files and arrays whose axes lie otherwise: what scipy and h5py write is read back to the sample."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from switchrecon.core.limits import VARIABLE as LIMIT
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.scans.arrays import arranged
from switchrecon.scans.files import find_files, read_scan, recognise
from switchrecon.scans.mat5 import read_mat5
from tests.scans.mrd_files import header, lines_of, random_kspace, write_mrd

RunCli = Callable[..., tuple[int, str, str]]
scipy_io = pytest.importorskip("scipy.io")
TRUTH = random_kspace(3, 4, 16, 12)  # slices, coils, H, W
LINES = np.arange(12) % 2 == 0
TEXT = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"


def in_matlab(kspace: np.ndarray) -> np.ndarray:
    """(slices, coils, H, W) as MATLAB's users store it: (H, W, coils, slices)."""
    return kspace.transpose(2, 3, 1, 0)


def write_73(path: Path, **variables: np.ndarray | dict[str, np.ndarray]) -> Path:
    """As MATLAB's save -v7.3: behind a user block, axes reversed, complex numbers as real and imag."""

    def put(place: h5py.Group, name: str, array: np.ndarray) -> None:
        if np.iscomplexobj(array):
            part = array.real.dtype
            records = np.empty(array.shape, [("real", part), ("imag", part)])
            records["real"], records["imag"] = array.real, array.imag
            array = records
        place.create_dataset(name, data=array.T).attrs["MATLAB_class"] = np.bytes_("single")

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, dict):
                for field, array in value.items():
                    put(file.require_group(name), field, array)
            else:
                put(file, name, value)
        file.require_group("#refs#")
    with path.open("r+b") as file:
        file.write(TEXT)
    return path


def write_5(path: Path, packed: bool = True, **variables: object) -> Path:
    scipy_io.savemat(path, variables, do_compression=packed)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_both_kinds_of_matlab_file_give_the_same_k_space(tmp_path: Path, packed: bool) -> None:
    other = {"note": np.arange(6.0).reshape(2, 3), "mask": LINES.astype(np.uint8)[None]}
    old = write_5(tmp_path / "old.mat", packed, kspace=in_matlab(TRUTH), text="words", cells=[["a", "b"]], **other)
    new = write_73(tmp_path / "new.mat", kspace=in_matlab(TRUTH), **other)
    for path in (old, new):
        scan = read_scan(path)
        assert recognise(path).name == "MATLAB"
        np.testing.assert_array_equal(scan.kspace, TRUTH * LINES)
        assert scan.mask is not None
        np.testing.assert_array_equal(scan.mask[0, 0], LINES)
        assert scan.subject in ("old", "new")
    assert find_files([tmp_path]) == [new, old]


def test_the_only_complex_array_is_read_and_one_of_several_must_be_named(tmp_path: Path, run_cli: RunCli) -> None:
    two = {"kspace_full": in_matlab(TRUTH), "kspace_sub": in_matlab(TRUTH * LINES)}
    for path in (write_73(tmp_path / "a.mat", **two), write_5(tmp_path / "b.mat", **two)):
        with pytest.raises(DataError, match=r"2 arrays can be k-space.*kspace_full, kspace_sub.*'variable'"):
            read_scan(path)
        np.testing.assert_array_equal(read_scan(path, ReadOptions(variable="*_full")).kspace, TRUTH)
        with pytest.raises(DataError, match=r"the variable 'kspace' fits 0 arrays; found kspace_full"):
            read_scan(path, ReadOptions(variable="kspace"))
        assert run_cli("inspect", path)[0] == 2
        assert "undersampled" in run_cli("inspect", path, "--variable", "kspace_sub")[1]
    path = write_73(tmp_path / "c.mat", data=in_matlab(TRUTH), real_numbers=np.ones((4, 5)))
    np.testing.assert_array_equal(read_scan(path).kspace, TRUTH)


def test_a_structure_of_real_and_imaginary_parts(tmp_path: Path) -> None:
    parts = {"real": in_matlab(TRUTH).real, "imag": in_matlab(TRUTH).imag}
    for path in (write_73(tmp_path / "a.mat", raw=parts), write_5(tmp_path / "b.mat", raw=parts)):
        np.testing.assert_array_equal(read_scan(path).kspace, TRUTH)
    inside = {"kspace": in_matlab(TRUTH), "te": np.ones((1, 1))}
    for path in (write_73(tmp_path / "c.mat", scan=inside), write_5(tmp_path / "d.mat", scan=inside)):
        np.testing.assert_array_equal(read_scan(path, ReadOptions(variable="scan.kspace")).kspace, TRUTH)


def test_three_axes_must_be_named_and_one_slice_needs_no_third(tmp_path: Path) -> None:
    coils = TRUTH[0].transpose(1, 2, 0)
    for path in (write_73(tmp_path / "a.mat", kspace=coils), write_5(tmp_path / "b.mat", kspace=coils)):
        with pytest.raises(DataError, match=r"\(16, 12, 4\), expected axes hw or hwcs or hwcst; .*'layout'"):
            read_scan(path)
        np.testing.assert_array_equal(read_scan(path, ReadOptions(layout="hwc")).kspace, TRUTH[:1])
        np.testing.assert_array_equal(read_scan(path, ReadOptions(layout="hws")).kspace[:, 0], TRUTH[0])
        np.testing.assert_array_equal(read_scan(path, ReadOptions(layout="whc")).kspace, TRUTH[:1].swapaxes(-1, -2))
    one = write_5(tmp_path / "c.mat", kspace=TRUTH[0, 0])
    np.testing.assert_array_equal(read_scan(one).kspace[0], TRUTH[0, :1])


def test_numbers_that_are_stored_in_fewer_bytes(tmp_path: Path) -> None:
    values = np.arange(192.0).reshape(16, 12) % 100 + 1j * np.ones((16, 12))
    path = tmp_path / "a.mat"

    for order, mark in (("<", b"\x00\x01IM"), (">", b"\x01\x00MI")):
        body = b"".join(
            struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)
            for kind, data in (
                (6, struct.pack(f"{order}II", 0x806, 0)),
                (5, struct.pack(f"{order}ii", 16, 12)),
                (1, b"kspace"),
                (2, values.real.astype("u1").tobytes("F")),  # doubles, stored as bytes
                (3, values.imag.astype(f"{order}i2").tobytes("F")),
            )
        )
        whole = struct.pack(f"{order}II", 14, len(body)) + body
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + mark + whole)
        np.testing.assert_array_equal(read_scan(path).kspace[0, 0], values.astype("c8"))


def test_what_scipy_reads_is_read_the_same(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    kinds = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "c8", "c16", "?"]
    stored = {f"v{i}": (100 * random.uniform(size=(3, 1 + i % 4, 2))).astype(kind) for i, kind in enumerate(kinds)}
    for packed in (True, False):
        path = write_5(tmp_path / "a.mat", packed, **stored)
        found = read_mat5(path)
        for name, expected in scipy_io.loadmat(path).items():
            if not name.startswith("__"):
                np.testing.assert_array_equal(found[name], expected)


def test_objects_are_not_read_and_damage_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_5(tmp_path / "a.mat", kspace=in_matlab(TRUTH), cells=[["a", 1]], text="words")
    assert set(read_mat5(path)) == {"kspace"}
    content = path.read_bytes()
    for cut in range(0, len(content), 997):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"a\.mat: "):
            read_scan(path)
    bomb = zlib.compress(struct.pack("<II", 14, 1 << 30) + bytes(1 << 22))
    path.write_bytes(content[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    monkeypatch.setenv(LIMIT, str(1 << 20))
    with pytest.raises(DataError, match=r"a variable of shape \(1073741824,\) takes 1 GiB; the limit is"):
        read_scan(path)


def test_hdf5_behind_a_user_block(tmp_path: Path) -> None:
    for size in (512, 4096):
        with h5py.File(tmp_path / "a.h5", "w", userblock_size=size) as file:
            file["kspace"] = TRUTH
        assert recognise(tmp_path / "a.h5").name == "fastMRI HDF5"
        np.testing.assert_array_equal(read_scan(tmp_path / "a.h5").kspace, TRUTH)
        path = tmp_path / f"{size}.mrd"
        with h5py.File(path, "w", userblock_size=size):
            pass
        write_mrd(path, header((16, 12, 1)), lines_of(TRUTH[0]))
        assert recognise(path).name == "ISMRMRD"
        np.testing.assert_array_equal(read_scan(path).kspace[0], TRUTH[0])


# Arrays of other layouts


def test_real_and_imaginary_parts_last_are_complex_numbers(tmp_path: Path) -> None:
    for name, array, layout, expected in (
        ("hwr", TRUTH[0, 0], None, TRUTH[:1, :1]),
        ("shwr", TRUTH[:, 0], None, TRUTH[:, :1]),
        ("schwr", TRUTH, None, TRUTH),
        ("chwr", TRUTH[0], "chwr", TRUTH[:1]),
    ):
        np.save(tmp_path / f"{name}.npy", np.stack([array.real, array.imag], -1))
        scan = read_scan(tmp_path / f"{name}.npy", ReadOptions(layout=layout))
        assert not scan.image
        np.testing.assert_array_equal(scan.kspace, expected)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.stack([TRUTH.real, TRUTH.imag], -1)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.h5").kspace, TRUTH)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["kspace"] = np.stack([TRUTH.real, TRUTH.imag], 1)
    np.testing.assert_array_equal(read_scan(tmp_path / "b.h5", ReadOptions(layout="srchw")).kspace, TRUTH)


def test_coils_last_are_refused_with_the_way_out(tmp_path: Path, run_cli: RunCli) -> None:
    kspace = random_kspace(2, 4, 32, 40)
    for array, ours, theirs, expected in (
        (kspace.transpose(0, 2, 3, 1), "schw", "shwc", kspace),
        (kspace[0].transpose(1, 2, 0), "shw", "hwc", kspace[:1]),
    ):
        path = tmp_path / "a.npy"
        np.save(path, array)
        code, _, err = run_cli("inspect", path)
        assert (code, f"set layout={theirs} if it is, layout={ours} if" in err) == (2, True)
        np.testing.assert_array_equal(read_scan(path, ReadOptions(layout=theirs)).kspace, expected)
        plain = array if array.ndim == 4 else array[:, None]
        np.testing.assert_array_equal(read_scan(path, ReadOptions(layout=ours)).kspace, plain)
        assert run_cli("inspect", path, "--layout", theirs)[0] == 0
    for layout in ("hw", "shwx", "sshw", "schwr"):
        with pytest.raises(DataError, match=f"the layout '{layout}' does not fit"):
            read_scan(path, ReadOptions(layout=layout))


def test_series_come_before_slices() -> None:
    array = random_kspace(16, 12, 4, 3, 2)  # MATLAB's H, W, coils, slices, time
    found = arranged(Path("a"), "x", array, None, {5: "hwcst"})
    assert (found.frames, found.slices) == (2, 3)
    np.testing.assert_array_equal(found.array[4], array[..., 1, 1].transpose(2, 0, 1))


@pytest.mark.parametrize("sides", [(16, 12), (15, 13)])
def test_the_hybrid_k_space_of_calgary_campinas(tmp_path: Path, sides: tuple[int, int]) -> None:
    """Its images are the plain inverse transforms of its slices, as that data set's own notebooks compute them."""
    images = random_kspace(3, 4, *sides)
    hybrid = np.fft.fft2(images).transpose(0, 2, 3, 1)
    stored = np.empty((*hybrid.shape[:-1], 8), np.float32)
    stored[..., ::2], stored[..., 1::2] = hybrid.real, hybrid.imag
    stored[:, :, 3] = 0  # a line that was not measured
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = stored
    scan = read_scan(tmp_path / "a.h5", ReadOptions(layout="calgary-campinas"))
    measured = np.fft.fft2(images)
    measured[..., 3] = 0
    plain = np.fft.ifft2(measured)
    axes = (-2, -1)
    ours = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace, axes=axes)), axes=axes)
    np.testing.assert_allclose(ours, plain, atol=1e-5)
    assert scan.mask is not None
    assert (~scan.mask).sum() == 3 * sides[0]  # zeros stay zero
