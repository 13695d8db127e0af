"""Time to read an ISMRMRD file: the bulk reader beside the reference library's readout after readout, in one run.

Usage: python benchmarks/mrd.py [--matrix 128] [--coils 8] [--slices 16] [--repeats 3]

Both read the same samples of the same file, which is written here as the reference library writes it. A third time
includes sorting, oversampling and all checks. Each time is the median over repeats measured in turn.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ismrmrd
import numpy as np

from switchrecon.scans.files import read_scan
from switchrecon.scans.hdf5 import open_hdf5
from switchrecon.scans.mrd import read_readouts

SIZES = "<matrixSize><x>{0}</x><y>{1}</y><z>1</z></matrixSize>"
SPACE = SIZES + "<fieldOfView_mm><x>{0}</x><y>{1}</y><z>5</z></fieldOfView_mm>"
HEADER = (
    '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace>{0}</encodedSpace><reconSpace>{1}'
    "</reconSpace><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
)


def write(path: Path, matrix: int, coils: int, slices: int) -> None:
    """A fully sampled file of noise, with readout oversampling of 2."""
    data, random = ismrmrd.Dataset(str(path), "dataset"), np.random.RandomState(0)
    data.write_xml_header(HEADER.format(SPACE.format(2 * matrix, matrix), SPACE.format(matrix, matrix)).encode())
    for number, step in np.ndindex(slices, matrix):
        samples = random.normal(size=(coils, 2 * matrix, 2)).astype(np.float32).view(np.complex64)[..., 0]
        acquisition = ismrmrd.Acquisition.from_array(samples)
        acquisition.idx.kspace_encode_step_1, acquisition.idx.slice = step, number
        acquisition.center_sample = matrix
        data.append_acquisition(acquisition)
    data.close()


def one_by_one(path: Path) -> int:
    """The reference library: readout after readout."""
    data = ismrmrd.Dataset(str(path), "dataset", create_if_needed=False)
    total = sum(data.read_acquisition(i).data.size for i in range(data.number_of_acquisitions()))
    data.close()
    return total


def in_bulk(path: Path) -> int:
    """Ours, to the same samples."""
    with open_hdf5(path) as file:
        return sum(map(len, read_readouts(path, file, "dataset/").samples)) // 2


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("matrix", 128), ("coils", 8), ("slices", 16), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        write(path, asked.matrix, asked.coils, asked.slices)
        assert one_by_one(path) == in_bulk(path)
        print(f"{asked.slices * asked.matrix} readouts, {path.stat().st_size / 2**20:.0f} MiB")
        calls = {
            "readout by readout": lambda: one_by_one(path),
            "bulk": lambda: in_bulk(path),
            "bulk, sorted": lambda: read_scan(path),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(asked.repeats):
            for name, call in calls.items():
                times[name].append(seconds(call))
    slowest = statistics.median(times["readout by readout"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:20s} {median:8.3f} s   {slowest / median:6.1f} times as fast")


if __name__ == "__main__":
    main()
