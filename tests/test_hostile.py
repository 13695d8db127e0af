"""Files made to do harm: none runs code, reads or writes another file, or takes memory for what it merely claims."""

import gzip
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
import yaml

from switchrecon.config import load_config
from switchrecon.core.files import atomic_file, write_text
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import ConfigError, DataError, RunError
from switchrecon.experiments.recipe import load_recipe
from switchrecon.physics.fourier import fourier
from switchrecon.runs.checkpoint import load_checkpoint, save_checkpoint
from switchrecon.scans.files import read_scan
from switchrecon.scans.hdf5 import open_hdf5, read_dataset
from tests.conftest import TRAINED, blob_images

RunCli = Callable[..., tuple[int, str, str]]
MakeScan = Callable[..., Path]
TINY = [f"--set={s}" for s in ("width=2", "residual_blocks=1", "extractor_depth=3", "steps=2", "method=simulated")]
SMALL = fourier(torch.from_numpy(blob_images(1, 2, 64))).numpy()

# Code in files


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def payloads(folder: Path, marker: Path) -> list[Path]:
    """The same pickle under every name that somebody might trust."""
    plain = pickle.dumps(Payload(marker))
    folder.mkdir()
    files = []
    for suffix in ("pt", "pth", "ckpt", "safetensors", "json", "npy", "npz", "h5", "nii", "yaml", "pkl"):
        files.append(folder / f"payload.{suffix}")
        files[-1].write_bytes(plain)
    objects = np.array([Payload(marker)], dtype=object)
    np.save(folder / "objects.npy", objects, allow_pickle=True)
    np.savez(folder / "objects.npz", images=objects)
    with zipfile.ZipFile(folder / "torch.pt", "w") as archive:
        archive.writestr("archive/data.pkl", plain)
    (folder / "tag.yaml").write_text(f"method: !!python/object/apply:os.mkdir ['{marker}']\n")
    return [*files, *(folder / name for name in ("objects.npy", "objects.npz", "torch.pt", "tag.yaml"))]


def test_no_file_given_to_any_command_runs_code(
    tmp_path: Path, run_cli: RunCli, make_scan: MakeScan, trained: Callable[..., Path]
) -> None:
    marker = tmp_path / "marker"
    full, out = make_scan("full", 1), tmp_path / "out"
    weights = next((trained() / "checkpoints").glob("*.json"))
    for file in payloads(tmp_path / "payloads", marker):
        run = tmp_path / f"run-{file.name}"
        (run / "checkpoints").mkdir(parents=True)
        (run / "model.safetensors").write_bytes(file.read_bytes())
        (run / "config.yaml").write_bytes(file.read_bytes())
        (run / "log.jsonl").write_bytes(file.read_bytes())
        (run / "checkpoints" / "step-00000001.safetensors").write_bytes(file.read_bytes())
        (run / "checkpoints" / "step-00000001.json").write_bytes(weights.read_bytes())
        evaluation = tmp_path / f"evaluation-{file.name}"
        evaluation.mkdir()
        for name in ("evaluation.json", "metrics.json", "metrics.csv", "examples.npz", "images.npz", "crossval.yaml"):
            (evaluation / name).write_bytes(file.read_bytes())
        commands: list[list[object]] = [
            ["train", "--full", file, "--out", out, *TINY],
            ["train", "--full", full, "--out", out, "--config", file],
            ["train", "--full", full, "--out", run, "--resume", *TINY],
            ["reconstruct", trained(), file, "--out", out],
            ["reconstruct", run, full, "--out", out, "--undersample", "run"],
            ["evaluate", run, "--reference", full, "--out", out],
            ["evaluate", trained(), "--reference", file, "--out", out],
            ["report", run],
            ["report", evaluation],
            ["report", evaluation, "--lpips-weights", file],
            ["crossval", "--config", file, "--out", out],
            ["crossval", "--out", evaluation],
            ["compare-domains", "--full", file, "--sub", full, "--out", out],
            ["weights", "lpips", "--from", file, "--out", out / "lpips.safetensors"],
        ]
        for command in commands:
            code, _, err = run_cli(*command)
            assert code == 2, (command, err)
            assert "Traceback" not in err
            assert not marker.exists(), command
        with pytest.warns(UserWarning, match="damaged"), pytest.raises(RunError):
            load_checkpoint(_alone(tmp_path / f"alone-{file.name}", file))
    assert not marker.exists()
    with pytest.raises(FileNotFoundError):  # and the payload is one: it does what it is made for
        pickle.loads(pickle.dumps(Payload(marker / "deep")))  # noqa: S301


def _alone(folder: Path, file: Path) -> Path:
    save_checkpoint(folder, 1, {"a": torch.ones(1)}, {})
    (folder / "step-00000001.safetensors").write_bytes(file.read_bytes())
    return folder


# HDF5 files that point elsewhere


def jailbreaks(folder: Path) -> dict[str, Path]:
    """Files whose ``kspace`` is not in them."""
    folder.mkdir()
    secret = folder / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kspace"], file["inner/kspace"] = SMALL, SMALL
    (folder / "secret.raw").write_bytes(SMALL.tobytes())

    def new(name: str, fill: Callable[[h5py.File], object]) -> Path:
        with h5py.File(folder / f"{name}.h5", "w") as file:
            fill(file)
        return folder / f"{name}.h5"

    def soft(file: h5py.File) -> None:
        file["other"] = SMALL
        file["kspace"] = h5py.SoftLink("/other")

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(SMALL.shape, SMALL.dtype)
        layout[:] = h5py.VirtualSource(str(secret), "kspace", SMALL.shape)
        file.create_virtual_dataset("kspace", layout)

    def raw(file: h5py.File) -> None:
        where = [(str(folder / "secret.raw"), 0, SMALL.nbytes)]
        file.create_dataset("kspace", SMALL.shape, SMALL.dtype, external=where)

    return {
        "external": new("external", lambda f: f.__setitem__("kspace", h5py.ExternalLink(str(secret), "/kspace"))),
        "missing": new("missing", lambda f: f.__setitem__("kspace", h5py.ExternalLink("nowhere.h5", "/kspace"))),
        "soft": new("soft", soft),
        "dangling": new("dangling", lambda f: f.__setitem__("kspace", h5py.SoftLink("/nothing"))),
        "loop": new("loop", lambda f: f.__setitem__("kspace", h5py.SoftLink("/kspace"))),
        "virtual": new("virtual", virtual),
        "raw": new("raw", raw),
        "group": new("group", lambda f: f.create_group("kspace")),
    }


def test_hdf5_files_that_point_elsewhere_are_refused(tmp_path: Path) -> None:
    for name, path in jailbreaks(tmp_path / "jail").items():
        with pytest.raises(DataError, match="kspace") as caught:
            read_scan(path)
        assert str(path) in str(caught.value), name


def test_a_link_in_the_middle_of_a_path_is_refused(tmp_path: Path) -> None:
    jailbreaks(tmp_path / "jail")
    for number, link in enumerate((h5py.ExternalLink(str(tmp_path / "jail/secret.h5"), "/inner"), h5py.SoftLink("/b"))):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            file["b/kspace"] = SMALL
            file["a"] = link
        with open_hdf5(path) as file:
            assert read_dataset(path, file, "b/kspace") is not None
            with pytest.raises(DataError, match="expected data stored in the file itself"):
                read_dataset(path, file, "a/kspace")


@pytest.mark.parametrize("kind", ["vlen", "text", "reference", "compound"])
def test_hdf5_objects_are_not_k_space(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "objects.h5"
    types = {
        "vlen": h5py.vlen_dtype(np.dtype("c8")),
        "text": h5py.string_dtype(),
        "reference": h5py.ref_dtype,
        "compound": np.dtype([("a", "f4"), ("b", h5py.vlen_dtype(np.dtype("f4")))]),
    }
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (2, 3, 3), types[kind])
    with pytest.raises(DataError, match="holds objects"):
        read_scan(path)


# Files that claim more than they hold


def bombs(folder: Path) -> list[Path]:
    """Small files, or sparse ones, that would fill the memory of a reader that trusts them."""
    folder.mkdir()

    def hdf5(name: str, shape: tuple[int, ...], **how: object) -> h5py.Dataset:
        file = h5py.File(folder / name, "w")
        return file.create_dataset("kspace", shape, "c8", **how)

    hdf5("declared.h5", (1000, 8000, 8000), chunks=(1, 80, 80)).file.close()
    hdf5("under-the-limit.h5", (100, 3000, 3000), chunks=(1, 30, 30)).file.close()
    hdf5("chunk.h5", (1, 64, 64), chunks=(1000, 700, 700), maxshape=(None, None, None)).file.close()
    lying = hdf5("inflating.h5", (1, 64, 64), chunks=(1, 64, 64), compression="gzip")
    lying.id.write_direct_chunk((0, 0, 0), _packed(1 << 29))
    lying.file.close()

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header["dim"] = [3, 32767, 32767, 32767, 1, 1, 1, 1]
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (folder / "dims.nii").write_bytes(header.binaryblock + bytes(4))
    with gzip.open(folder / "dims.nii.gz", "wb") as packed:
        packed.write(header.binaryblock + bytes(1 << 20))
    header["dim"] = [3, 8, 8, 8, 1, 1, 1, 1]
    header["vox_offset"] = 2.0e9
    extension = bytes([1, 0, 0, 0]) + struct.pack("<ii", 500_000_000 - 500_000_000 % 16, 6)
    (folder / "extension.nii.gz").write_bytes(_gzipped(header.binaryblock + extension, zeros=1 << 29))

    def npy(name: str, described: bytes) -> None:
        (folder / name).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(described)) + described + bytes(64))

    npy("shape.npy", b"{'descr': '<c8', 'fortran_order': False, 'shape': (100000, 8000, 80), }".ljust(118) + b"\n")
    with (folder / "header.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2_000_000_000))
        file.truncate(2_100_000_000)  # sparse
    return sorted(folder.iterdir())


def _packed(zeros: int) -> bytes:
    worker = zlib.compressobj(1)
    return b"".join([*(worker.compress(bytes(1 << 24)) for _ in range(zeros >> 24)), worker.flush()])


def _gzipped(start: bytes, zeros: int) -> bytes:
    worker = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = [worker.compress(start), *(worker.compress(bytes(1 << 24)) for _ in range(zeros >> 24)), worker.flush()]
    return b"".join(parts)


def run_bombs(folder: Path) -> list[Path]:
    """Run folders with models and checkpoints that claim too much."""
    made = []
    for name, size, claimed in (("header", 300_000_000, 200_000_000), ("beyond", 1000, 1 << 60)):
        made.append(folder / name)
        made[-1].mkdir(parents=True)
        with (made[-1] / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", claimed) + b'{"')
            file.truncate(size)
    deep = b'{"__metadata__":{"switchrecon":"' + b"[" * 200_000 + b'"}}'
    made.append(folder / "deep")
    made[-1].mkdir()
    (made[-1] / "model.safetensors").write_bytes(struct.pack("<Q", len(deep)) + deep)
    return made


MEASURE = """
import resource, sys, warnings
from pathlib import Path
import torch
from switchrecon.config import load_config
from switchrecon.runs.checkpoint import load_checkpoint, load_model
from switchrecon.scans.files import read_scan
from switchrecon.errors import SwitchreconError
from switchrecon.physics.fourier import fourier
from switchrecon.experiments.recipe import load_recipe
warnings.simplefilter("ignore")
readers = {"scan": lambda p: read_scan(p), "run": lambda p: load_model(p / "model.safetensors"),
           "checkpoint": load_checkpoint, "yaml": load_config, "recipe": lambda p: load_recipe(str(p))}
readers["scan"](Path(sys.argv[1]))  # what a sound scan takes is no growth
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for argument in sys.argv[2:]:
    kind, _, path = argument.partition("=")
    try:
        readers[kind](Path(path))
        print("taken", path)
    except SwitchreconError as error:
        pass
    except Exception as error:
        print(type(error).__name__, path, error)
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("growth", (now - peak) // 1024, path)
"""


def laughs(levels: int) -> str:
    """Ten to the power of ``levels`` values in some lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines)


def test_what_a_file_merely_claims_takes_no_memory(tmp_path: Path, make_scan: MakeScan) -> None:
    """Each is refused, and the peak of the memory stays within 200 MB of that for a sound scan."""
    arguments = [f"scan={file}" for file in bombs(tmp_path / "bombs")]
    arguments += [f"run={folder}" for folder in run_bombs(tmp_path / "runs")]
    (tmp_path / "laughs.yaml").write_text(laughs(9))
    (tmp_path / "deep.yaml").write_text("a: " + "[" * 100_000)
    (tmp_path / "long.yaml").write_text("# " + "x" * (2 << 20))
    arguments += [
        f"{kind}={tmp_path / name}.yaml" for kind in ("yaml", "recipe") for name in ("laughs", "deep", "long")
    ]
    for name, text in (("deep", "[" * 1_000_000), ("long", "x")):
        folder = _alone(tmp_path / f"checkpoint-{name}", Path(__file__))
        with (folder / "step-00000001.json").open("w") as file:
            file.write(text)
            file.truncate(2 << 30 if name == "long" else None)
        arguments.append(f"checkpoint={folder}")
    command = [sys.executable, "-c", MEASURE, str(make_scan("sound", 1)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == len(arguments), done.stdout
    assert all(line.startswith("growth") for line in lines), done.stdout
    assert max(int(line.split()[1]) for line in lines) < 200, done.stdout


def test_an_honest_compressed_file_is_read(tmp_path: Path) -> None:
    for how in ({"compression": "gzip", "fletcher32": True, "shuffle": True}, {"fletcher32": True}, {}):
        with h5py.File(tmp_path / "k.h5", "w") as file:
            file.create_dataset("kspace", data=SMALL, chunks=(1, 50, 40), **how)
        np.testing.assert_array_equal(read_scan(tmp_path / "k.h5").kspace[:, 0], SMALL)
    noise = np.random.RandomState(0).bytes(SMALL.nbytes)  # does not compress
    with h5py.File(tmp_path / "k.h5", "w") as file:
        numbers = np.frombuffer(noise, np.uint8).astype(np.float32).view(np.complex64)[: SMALL.size]
        data = np.resize(numbers, SMALL.shape)
        file.create_dataset("kspace", data=data, chunks=(1, 7, 5), compression="gzip", compression_opts=1)
    assert read_scan(tmp_path / "k.h5").kspace[:, 0].shape == SMALL.shape


def test_aliases_are_read_where_they_stay_small() -> None:
    assert load_yaml("a: &x {k: 1}\nb: {<<: *x, m: 2}\nc: [*x, *x]") == {
        "a": {"k": 1},
        "b": {"k": 1, "m": 2},
        "c": [{"k": 1}, {"k": 1}],
    }
    assert load_yaml("") is None
    for text in (laughs(9), "a: &a [*a]", "&a {b: *a}", "[" * 100_000):
        with pytest.raises(yaml.YAMLError):
            load_yaml(text)


def test_a_wrong_value_is_not_repeated_in_full() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"method=[{'x, ' * 1000}x]"])
    assert len(str(caught.value)) < 300


# Names


def outside(folder: Path, inside: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_relative_to(inside)}


HOSTILE = ["../../escape", "/tmp/switchrecon-escape", "nul\x00byte", "CON", "x" * 300, "new\nline", "-rf", "$(touch x)"]


def test_hostile_subjects_and_names_write_nothing_outside(
    tmp_path: Path, run_cli: RunCli, trained: Callable[..., Path], make_scan: MakeScan
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    mask = np.random.RandomState(0).uniform(size=64) < 0.5
    for number, subject in enumerate(HOSTILE):
        own = "".join(c for c in subject if c not in "/\x00")[:200]
        with h5py.File(scans / f"s{own}{number}.h5", "w") as file:
            file["kspace"] = SMALL * mask
            file.attrs["patient_id"] = np.bytes_(subject) if "\x00" in subject else subject
    before = outside(tmp_path, out)
    code, _, err = run_cli("reconstruct", trained(), scans, "--out", out)
    assert code == 0, err
    assert len(list(out.iterdir())) == len(HOSTILE)
    assert outside(tmp_path, out) == before
    assert not Path("/tmp/switchrecon-escape").exists()
    full, run = make_scan("full", 1), tmp_path / "run"
    before = outside(tmp_path, run)
    code, _, err = run_cli("train", "--full", full, "--sub", scans, "--out", run, *TINY, "--set=method=cyclegan")
    assert code in TRAINED, err
    assert outside(tmp_path, run) == before


@pytest.mark.parametrize("name", ["../../x", "/absolute", "a/b", "..", "x" * 300, "", "a\x00b"])
def test_hostile_names_in_a_recipe_are_refused(tmp_path: Path, name: str) -> None:
    recipe = {"title": "t", "data": {"heads": 6}, "folds": 3, "methods": {name: {"method": "simulated"}}}
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    with pytest.raises(ConfigError):
        load_recipe(str(file))


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b"])
def test_paths_that_no_file_can_have_are_one_sentence(tmp_path: Path, run_cli: RunCli, name: str) -> None:
    code, _, err = run_cli("train", "--full", tmp_path / name, "--out", tmp_path / "run", *TINY)
    assert code == 2, err
    assert err.count("\n") == 1


def test_a_link_in_place_of_an_output_is_replaced_and_not_followed(
    tmp_path: Path, run_cli: RunCli, trained: Callable[..., Path], make_scan: MakeScan
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    for name, target in (("plain", victim), ("dangling", tmp_path / "not-there")):
        (out / name).symlink_to(target)
        write_text(out / name, "ours")
        assert not (out / name).is_symlink()
        assert (out / name).read_text() == "ours"
    assert victim.read_text() == "precious"
    assert not (tmp_path / "not-there").exists()
    scan = make_scan("scans", 3, mask=np.random.RandomState(0).uniform(size=(64, 64)) < 0.4)
    (out / scan.name).symlink_to(victim)
    code, _, err = run_cli("reconstruct", trained(), scan, "--out", out)
    assert (code, "exists already" in err) == (2, True)
    assert run_cli("reconstruct", trained(), scan, "--out", out, "--overwrite")[0] == 0
    assert victim.read_text() == "precious"
    assert np.load(out / scan.name).shape == (3, 64, 64)


def test_a_temporary_file_is_new_and_of_its_owner_alone(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.stat().st_mode & 0o077 == 0
        assert not temporary.is_symlink()
        temporary.write_bytes(b"x")


@pytest.mark.parametrize("length", [1, 100, 1 << 20])
def test_a_chunk_that_is_shorter_or_longer_than_it_should_be_is_refused(tmp_path: Path, length: int) -> None:
    """HDF5 itself would read beyond the end of one that is too short."""
    for how in ({"compression": "gzip"}, {"compression": "gzip", "shuffle": True}):
        with h5py.File(tmp_path / "k.h5", "w") as file:
            dataset = file.create_dataset("kspace", SMALL.shape, "c8", chunks=(1, 64, 64), **how)
            dataset.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(length)))
        with pytest.raises(DataError, match="does not hold its 32768 bytes"):
            read_scan(tmp_path / "k.h5")


def test_filters_whose_sizes_cannot_be_checked_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file.create_dataset("kspace", data=SMALL.real, scaleoffset=3)
    with pytest.raises(DataError, match="expected gzip, lzf, shuffle or fletcher32"):
        read_scan(tmp_path / "k.h5")


@pytest.mark.parametrize("zooms", [(1, 1e-9, 1), (1, 1, 1e9), (3e-38, 1e38, 1)])
def test_impossible_voxels_take_no_memory(tmp_path: Path, zooms: tuple[float, float, float]) -> None:
    image = nibabel.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    image.header["pixdim"][1:4] = zooms
    image.header["sform_code"] = image.header["qform_code"] = 0
    (tmp_path / "v.nii").write_bytes(image.header.binaryblock + bytes(4) + np.ones(64, np.float32).tobytes())
    with pytest.raises(DataError, match=r"voxel sizes|not a readable"):
        read_scan(tmp_path / "v.nii")
