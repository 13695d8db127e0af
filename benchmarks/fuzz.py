"""Mutate small valid scans of every format: each reading must give a scan or one sentence, soon and in little memory.

Usage: python benchmarks/fuzz.py [--seconds 60] [--mutations N] [--seed 0] [--protocols N] [--out runs/fuzz]

A new format of ``switchrecon.scans.formats`` takes part as soon as ``SAMPLES`` makes a file of it. Whatever makes a
reader raise anything but a SwitchreconError, hang, crash or fill the memory is kept in the folder, with the reason
beside it.
"""

import argparse
import gzip
import logging
import os
import random
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import nibabel
import numpy as np
import scipy.io

from switchrecon.config import load_config
from switchrecon.errors import SwitchreconError
from switchrecon.scans import files
from switchrecon.scans.bart import write_bart
from switchrecon.scans.dicom_write import write_dicom
from switchrecon.scans.formats import formats
from switchrecon.scans.scan import Scan

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.scans.mrd_files import header, readout, write_mrd
from tests.scans.protocols import differences, draw, in_every_format, sort

BATCH = 40  # mutations a process, so that a reader that crashes takes no more with it
PATIENCE = 10  # seconds for one file
MOST_GROWTH = 300  # MB of a process


def _kspace() -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(2, 12, 10)) + 1j * generator.normal(size=(2, 12, 10))).astype(np.complex64)


def _hdf5(folder: Path) -> None:
    with h5py.File(folder / "plain.h5", "w") as file:
        file["kspace"], file["mask"] = _kspace(), np.arange(10) % 2 == 0
        file.attrs["patient_id"] = "someone"
    with h5py.File(folder / "lzf.h5", "w", userblock_size=512) as file:
        file.create_dataset("kspace", data=_kspace(), chunks=(1, 12, 10), compression="lzf", shuffle=True)
        file["mask"] = np.ones((1, 10, 1))
    with h5py.File(folder / "packed.h5", "w") as file:
        chunked = {"chunks": (1, 6, 5), "compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("kspace", data=_kspace(), **chunked)


def _nifti(folder: Path) -> None:
    volume = np.abs(_kspace()).transpose(1, 2, 0)
    image = nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1]))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"a comment"))
    nibabel.save(image, folder / "one.nii")
    nibabel.save(image, folder / "packed.nii.gz")
    series = nibabel.Nifti1Image(np.stack([volume, volume], -1), np.eye(4))
    series.header["intent_name"] = b"contrast"
    nibabel.save(series, folder / "series.nii")
    nibabel.save(nibabel.Nifti2Image(volume.astype(np.int16), np.eye(4)), folder / "two.nii")


def _numpy(folder: Path) -> None:
    np.save(folder / "kspace.npy", _kspace())
    np.save(folder / "image.npy", np.abs(_kspace()))
    np.save(folder / "parts.npy", np.stack([_kspace().real, _kspace().imag], -1))
    np.savez(folder / "stored.npz", kspace=_kspace(), mask=np.ones((12, 10)))
    np.savez_compressed(folder / "packed.npz", kspace=_kspace())


def _matlab(folder: Path) -> None:
    kspace = _kspace().transpose(1, 2, 0)[:, :, None]
    for packed in (True, False):
        scipy.io.savemat(folder / f"five-{packed}.mat", {"kspace": kspace, "mask": np.ones(10)}, do_compression=packed)
    scipy.io.savemat(folder / "struct.mat", {"raw": {"real": kspace.real, "imag": kspace.imag}})
    with h5py.File(folder / "seven.mat", "w", userblock_size=512) as file:
        file["kspace"] = kspace.T
    with (folder / "seven.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def _mrd(folder: Path) -> None:
    kspace = _kspace()
    lines = [
        readout(kspace[n, :, line, None].T, kspace_encode_step_1=line, slice=n) for n in range(2) for line in range(10)
    ]
    write_mrd(folder / "scan.mrd", header((12, 10, 1), encoded_field=(240, 240, 5)), lines)
    for seed in (0, 3):  # repetitions, averages, reversed and short readouts
        draw(seed).write(folder / f"protocol-{seed}.mrd")


def _bart(folder: Path) -> None:
    write_bart(_kspace(), folder / "bart.cfl")


def _dicom(folder: Path) -> None:
    scan = Scan(folder / "a.h5", "a", _kspace(), affine=np.diag([-1.0, -1, 3, 1]))
    write_dicom(scan, np.abs(_kspace()), folder / "series")
    next((folder / "series").iterdir()).rename(folder / "one.dcm")
    shutil.rmtree(folder / "series")


SAMPLES: tuple[Callable[[Path], None], ...] = (_hdf5, _nifti, _numpy, _matlab, _mrd, _bart, _dicom)
FOREIGN = {"Siemens raw data"}  # parsed by twixtools, which was not made for damaged files


def samples(folder: Path) -> list[Path]:
    """Make the valid files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for make in SAMPLES:
        make(folder)
    return sorted(folder.iterdir())


def formats_without_sample(made: list[Path]) -> list[str]:
    """Names of the registered formats that no sample is of."""
    registered = {format.name for format in formats() if format.read}
    return sorted(registered - FOREIGN - {files.recognise(path).name for path in made})


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Some flips, cuts, inserts, repeats or large numbers, most of them where headers are; packed files inside, too."""
    if content[:2] == b"\x1f\x8b" and draw.random() < 0.5:
        return gzip.compress(mutate(gzip.decompress(content), draw), 1)
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        end = len(changed) if draw.random() < 0.5 else min(len(changed), 600)
        place = draw.randrange(max(end, 1))
        kind = draw.choice(("flip", "flip", "byte", "large", "cut", "drop", "insert", "repeat"))
        if not changed:
            break
        if kind == "flip":
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == "byte":
            changed[place] = draw.randrange(256)
        elif kind == "large":
            changed[place : place + 4] = draw.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
        elif kind == "cut":
            del changed[place:]
        elif kind == "drop":
            del changed[place : place + draw.randrange(1, 64)]
        elif kind == "insert":
            changed[place:place] = draw.randbytes(draw.randrange(1, 64))
        else:
            changed[place:place] = changed[place : place + draw.randrange(1, 256)]
    return bytes(changed)


def read_all(cases: Iterator[tuple[Path, bytes]], current: Path) -> None:
    """Read each mutation in this process; the first bad outcome ends it, with the reason in ``current``."""
    warnings.simplefilter("ignore")
    logging.disable()
    config = load_config()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, content in cases:
        path.write_bytes(content)
        current.write_text(f"{path}\ncrashed")
        signal.alarm(PATIENCE)
        try:
            files.read_scan(path, config.reading)
        except SwitchreconError:
            pass
        except Exception as error:
            current.write_text(f"{path}\n{type(error).__name__}: {error}")
            os._exit(1)
        signal.alarm(0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        if grown > MOST_GROWTH:
            current.write_text(f"{path}\ngrew by {grown} MB")
            os._exit(1)


def fuzz(folder: Path, seconds: float, mutations: int | None, seed: int) -> tuple[int, list[Path]]:
    """Mutate and read until the time or the number is used up; returns how many were read, and the bad ones."""
    made = samples(folder / "samples")
    originals = {path: path.read_bytes() for path in made}
    draw, current = random.Random(seed), folder / "current.txt"
    done, bad, end = 0, [], time.monotonic() + seconds
    while time.monotonic() < end and (mutations is None or done < mutations):
        chosen = [draw.choice(made) for _ in range(BATCH)]
        cases = [(path, mutate(originals[path], draw)) for path in chosen]
        child = os.fork()
        if child == 0:
            read_all(iter(cases), current)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        done += BATCH
        if status:
            name, reason = current.read_text().split("\n", 1)
            what = f"{reason} (signal {os.WTERMSIG(status)})" if os.WIFSIGNALED(status) else reason
            kept = folder / f"bad-{len(bad):03d}-{Path(name).name}"
            shutil.copy(name, kept)
            kept.with_name(f"{kept.name}.txt").write_text(what)
            print(f"{kept}: {what}", flush=True)
            bad.append(kept)
        for path in {path for path, _ in cases}:
            path.write_bytes(originals[path])
    return done, bad


def wrong_protocols(folder: Path, count: int, seed: int) -> list[int]:
    """The seeds of random protocols (repetitions, averages, reversals, ...) that are read to other values than
    an independent sorter gives, or that another format does not hold as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong = []
    for number in range(seed, seed + count):
        protocol, path = draw(number), folder / f"{number}.mrd"
        path.unlink(missing_ok=True)
        scan, (kspace, mask) = files.read_scan(protocol.write(path)), sort(protocol)
        same = np.allclose(scan.kspace, kspace, atol=2e-5)
        same &= (scan.mask is None) if mask is None else np.array_equal(scan.mask, mask)
        lost = [
            (name, what) for name, part, again in in_every_format(path, folder) for what in differences(part, again)
        ]
        if not same or lost:
            wrong.append(number)
            print(f"{path}: other values than the sorter's, or lost in a format: {lost}", flush=True)
        else:
            path.unlink()
    return wrong


def main() -> None:
    """Fuzz, print what was found, and end with code 1 if anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mutations", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--protocols", type=int, default=0, help="random MRD protocols to compare with a sorter")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    arguments = parser.parse_args()
    without = formats_without_sample(samples(arguments.out / "samples"))
    done, bad = fuzz(arguments.out, arguments.seconds, arguments.mutations, arguments.seed)
    print(f"{done} mutations read, {len(bad)} of them badly; formats without a sample: {', '.join(without) or 'none'}")
    wrong = wrong_protocols(arguments.out / "protocols", arguments.protocols, arguments.seed)
    if arguments.protocols:
        print(f"{arguments.protocols} random protocols compared, {len(wrong)} of them wrong")
    sys.exit(bool(bad or without or wrong))


if __name__ == "__main__":
    main()
