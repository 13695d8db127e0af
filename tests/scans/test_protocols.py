"""Random MRD protocols against an independent sorter; SWITCHRECON_PROTOCOLS sets how many (100)."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from switchrecon.core.reading import ReadOptions
from switchrecon.scans.convert import convert_file
from switchrecon.scans.files import read_scan
from tests.scans.protocols import draw, sort

COUNT = int(os.environ.get("SWITCHRECON_PROTOCOLS", "100"))
PART = 25  # protocols a test


@pytest.mark.parametrize("first", range(0, COUNT, PART))
def test_random_protocols_are_sorted_as_their_documentation_says(tmp_path: Path, first: int) -> None:
    for seed in range(first, min(first + PART, COUNT)):
        protocol = draw(seed)
        scan = read_scan(protocol.write(tmp_path / f"{seed}.mrd"))
        kspace, mask = sort(protocol)
        assert (scan.mask is None) == (mask is None), seed
        if mask is not None:
            np.testing.assert_array_equal(scan.mask, mask, str(seed))
        np.testing.assert_allclose(scan.kspace, kspace, atol=2e-5, err_msg=str(seed))


def test_the_same_scan_is_the_same_in_every_format(tmp_path: Path) -> None:
    def series(seed: int) -> int:
        return len({(line.get("repetition", 0), line.get("contrast", 0)) for line in draw(seed).lines})

    seeds = [seed for seed in range(60) if series(seed) == 1]  # several series become a file each
    for seed in seeds[:6]:
        path = draw(seed).write(tmp_path / f"{seed}.mrd")
        scan = read_scan(path)
        ours = scan.kspace
        others = [tmp_path / f"{seed}{ending}" for ending in (".npz", ".h5", ".cfl")]
        for other in others:
            convert_file(path, other)
        scipy.io.savemat(tmp_path / f"{seed}.mat", {"kspace": ours.transpose(2, 3, 1, 0)})
        for other in (*others, tmp_path / f"{seed}.mat"):
            again = read_scan(other, ReadOptions(layout="hwcs" if other.suffix == ".mat" else None))
            np.testing.assert_array_equal(again.kspace, ours, other.name)
        field = read_scan(tmp_path / f"{seed}.h5").geometry.field_of_view
        np.testing.assert_allclose(field, scan.geometry.field_of_view, rtol=1e-4)
