"""Random MRD protocols against an independent sorter: 2,000 of them in ``make test-all``."""

from pathlib import Path

import numpy as np
import pytest

from switchrecon.scans.files import read_scan
from tests.conftest import examples
from tests.scans.protocols import differences, draw, in_every_format, sort

COUNT, PART = 2000, 25  # protocols, and of a test


@pytest.mark.parametrize("first", examples(range(0, COUNT, PART), 0, PART))
def test_random_protocols_are_sorted_as_their_documentation_says(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + PART):
        protocol = draw(seed)
        scan = read_scan(protocol.write(tmp_path / f"{seed}.mrd"))
        kspace, mask = sort(protocol)
        assert (scan.mask is None) == (mask is None), seed
        if mask is not None:
            np.testing.assert_array_equal(scan.mask, mask, str(seed))
        np.testing.assert_allclose(scan.kspace, kspace, atol=2e-5, err_msg=str(seed))


@pytest.mark.parametrize("first", examples(range(0, COUNT, PART), 0))
def test_the_same_scan_is_the_same_in_every_format(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + PART, 8):
        path = draw(seed).write(tmp_path / f"{seed}.mrd")
        names = set()
        for name, part, again in in_every_format(path, tmp_path):
            assert differences(part, again) == [], (seed, name)
            names.add(name[1:])
        assert names >= {".npy", ".npz", ".h5", ".hdf5", ".cfl", ".mat", "-7.mat"}
