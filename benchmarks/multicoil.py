"""Multi-coil reconstructions of one fully sampled fastMRI slice, undersampled 1-D: PSNR, SSIM and a picture.

Usage: python benchmarks/multicoil.py FILE.h5 [--slice 0] [--acceleration 4] [--lines 24] [--out runs/multicoil.png]

Every fourth line and the centre are kept; columns that are zero in the file were not measured. Maps come from the kept
centre alone, by ESPIRiT. The reference is the magnitude of the fully sampled coil images combined with the same maps,
so it is 0 outside their support, and so are all images here. Metrics are of the slice, its maximum the data range.
Where a head is larger than the field of view and wraps, one set of maps cannot explain the overlap; errors remain.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from switchrecon.coils import CALIBRATION, combine, root_sum_of_squares
from switchrecon.data.hdf5 import open_hdf5, read_dataset
from switchrecon.data.write import atomic_file
from switchrecon.errors import DataError
from switchrecon.espirit import espirit
from switchrecon.figures import comparison_figure
from switchrecon.fourier import inverse_fourier
from switchrecon.masks import centre_slice
from switchrecon.metrics import slice_metrics
from switchrecon.operators import Fourier, Sampling, Sensitivity
from switchrecon.solvers import sense, total_variation

SENSE_WEIGHT = 0.03
TOTAL_VARIATION_WEIGHT = 0.01  # of the maximum of the zero-filled image

# Measured k-space (coils, H, W), mask (H, W) and maps (coils, H, W) to an image (H, W).
Method = Callable[[Tensor, Tensor, Tensor], Tensor]


def root_sum_of_squares_zero_filled(measured: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
    """√(Σ |F⁻¹k|²), on the support of the maps."""
    return root_sum_of_squares(inverse_fourier(measured)) * (maps != 0).any(0)


def cg_sense(measured: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
    """Least squares with an l2 penalty."""
    return sense(Sampling(mask) @ Fourier() @ Sensitivity(maps), measured, SENSE_WEIGHT)


def tv_sense(measured: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
    """Least squares with total variation."""
    operator = Sampling(mask) @ Fourier() @ Sensitivity(maps)
    weight = TOTAL_VARIATION_WEIGHT * float(operator.H(measured).abs().max())
    return total_variation(operator, measured, weight)


METHODS: dict[str, Method] = {
    "RSS zero-filled": root_sum_of_squares_zero_filled,
    "CG-SENSE": cg_sense,
    "TV-SENSE": tv_sense,
}


def read_slice(path: Path, index: int) -> Tensor:
    """Complex k-space (coils, H, W)."""
    with open_hdf5(path) as file:
        kspace = read_dataset(path, file, "kspace")
    if kspace is None or kspace.ndim != 4:
        raise DataError(f"{path}: expected a dataset 'kspace' of shape (slices, coils, H, W)")
    return torch.from_numpy(kspace[index]).to(torch.complex64)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--slice", type=int, default=0)
    parser.add_argument("--acceleration", type=int, default=4)
    parser.add_argument("--lines", type=int, default=CALIBRATION[1], help="fully sampled centre lines")
    parser.add_argument("--out", type=Path, default=Path("runs/multicoil.png"))
    options = parser.parse_args()

    kspace = read_slice(options.file, options.slice)
    height, width = kspace.shape[-2:]
    lines = torch.zeros(width, dtype=torch.bool)
    lines[:: options.acceleration] = True
    lines[centre_slice(width, options.lines / width)] = True
    mask = (lines & (kspace != 0).any(0).any(0)).expand(height, width)
    measured = Sampling(mask)(kspace)
    maps = espirit(measured, (CALIBRATION[0], options.lines))
    reference = combine(inverse_fourier(kspace), maps).abs().numpy()

    images, scores = [], {}
    print(f"{'':20s}  PSNR/dB    SSIM    NMSE")
    for name, method in METHODS.items():
        images.append(method(measured, mask, maps).abs().numpy())
        [values] = slice_metrics(reference[None], images[-1][None], "slice-max")
        print(f"{name:20s}  {values['psnr']:7.2f}  {values['ssim']:6.4f}  {values['nmse']:6.4f}")
        scores[name] = values
    stacked = torch.stack([torch.from_numpy(image) for image in images]).numpy()
    with atomic_file(options.out, ".png") as temporary:
        temporary.write_bytes(comparison_figure(reference, stacked, list(METHODS), mask.numpy(), scores))
    print(options.out)


if __name__ == "__main__":
    main()
