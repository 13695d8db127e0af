"""Scans as they would have been under other conditions: do they look unlike those of the calibration?"""

from collections.abc import Callable

import numpy as np

from switchrecon.core.seeds import numpy_random
from switchrecon.physics.masks import MaskConfig, draw_mask
from switchrecon.reconstruction.files import reconstruct_scan
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.scan import Scan
from switchrecon.trust.calibrate import Shift, measured_as
from switchrecon.trust.held_out import FOLDS
from switchrecon.trust.look import features_at

SUBJECTS = 5  # that are looked at so
FASTER = 1.5  # times the acceleration
NOISE = 0.05  # of the brightest pixel, in each of real and imaginary part
NAMES = (f"{FASTER:g} times the acceleration", f"{NOISE:.0%} of noise added")


def shifts(subjects: int = SUBJECTS, folds: int = FOLDS) -> Shift:
    """Return what looks at the first so many subjects with sparser masks, and with noise added.

    Parameters
    ----------
    subjects
        How many.
    folds
        Number of folds for the error at held-out samples.
    """
    seen: set[str] = set()

    def shift(reconstructor: Reconstructor, scan: Scan, numbers: list[int]) -> dict[str, tuple[float, ...]]:
        if scan.subject not in seen and len(seen) >= subjects:
            return {}
        seen.add(scan.subject)
        made: tuple[Callable[[], Scan], ...] = (
            lambda: _faster(reconstructor, scan, numbers),
            lambda: _noisier(reconstructor, scan, numbers),
        )
        features = {}
        for name, make in zip(NAMES, made, strict=True):
            measured = make()
            found = reconstruct_scan(reconstructor, measured)
            features[name] = features_at(reconstructor, measured, found, numbers, folds)[1]
        return features

    return shift


def _faster(reconstructor: Reconstructor, scan: Scan, numbers: list[int]) -> Scan:
    law = reconstructor.config.mask
    sparser: MaskConfig = law.model_copy(update={"acceleration": FASTER * law.acceleration})
    masks = np.stack([draw_mask(sparser, scan.matrix, volume=scan.name, index=index) for index in numbers])
    return measured_as(reconstructor, scan, numbers, masks)


def _noisier(reconstructor: Reconstructor, scan: Scan, numbers: list[int]) -> Scan:
    """Noise is added to what was measured, so that maps of coils stay."""
    measured = measured_as(reconstructor, scan, numbers)
    assert measured.mask is not None
    level = NOISE * max(float(np.abs(np.fft.ifft2(each, norm="ortho")).max()) for each in scan.kspace)
    parts = numpy_random("shifted noise", scan.name).normal(scale=level, size=(2, *measured.kspace.shape))
    measured.kspace = ((measured.kspace + parts[0] + 1j * parts[1]) * measured.mask[:, None]).astype(np.complex64)
    return measured
