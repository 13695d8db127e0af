"""Reconstructions of a fully sampled scan of several coils, undersampled: errors, and a picture.

    python benchmarks/multicoil.py FILE [--run RUN] [--slice N] [--acceleration 4] [--lines 24] [--out PICTURE.png]

Every fourth line and the centre are kept; maps come from the kept centre, and the reference is the coil combination of
the full k-space with the same maps. A trained run gives the masks, whitening and compression, and joins the table.
The weights of CG-SENSE and TV-SENSE are the best of a coarse grid on a slice of an 8-coil brain (×4, 24 lines).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from switchrecon.config import load_config
from switchrecon.core.files import atomic_file
from switchrecon.data.coils import with_maps
from switchrecon.errors import DataError
from switchrecon.metrics.conventions import slice_metrics
from switchrecon.physics.coils import CALIBRATION, root_sum_of_squares
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.operators import Encoding
from switchrecon.physics.solvers import sense, total_variation
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.reports.figures import comparison_figure
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import own_mask

SENSE_WEIGHT = 0.03
TOTAL_VARIATION_WEIGHT = 0.01  # of the brightest pixel


def reconstructions(kspace: Tensor, encoding: Encoding, run: Reconstructor | None) -> dict[str, Tensor]:
    """Complex or real images (1, H, W) by name, of measured k-space (1, coils, H, W)."""
    assert encoding.maps is not None
    zero_filled = encoding.H(kspace)
    weight = TOTAL_VARIATION_WEIGHT * float(zero_filled.abs().max())
    made = {
        "zero-filled RSS": root_sum_of_squares(inverse_fourier(kspace)) * (encoding.maps != 0).any(1),
        "CG-SENSE": sense(encoding, zero_filled, SENSE_WEIGHT),
        "TV-SENSE": total_variation(encoding, zero_filled, weight),
    }
    if run is not None:
        made[run.config.method] = run(kspace, encoding.mask, encoding.maps)
    return made


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--slice", type=int, default=0)
    parser.add_argument("--acceleration", type=int, default=4)
    parser.add_argument("--lines", type=int, default=CALIBRATION[1], help="fully sampled centre lines")
    parser.add_argument("--out", type=Path, default=Path("runs/multicoil.png"))
    options = parser.parse_args()

    run = None if options.run is None else Reconstructor.load(options.run)
    scan = read_scan(options.file)
    if scan.coils == 1:
        raise DataError(f"{options.file}: has one coil; expected several")
    if run is None:
        fraction = options.lines / scan.matrix[1]
        mask = [f"acceleration={options.acceleration}", f"center_fraction={fraction}", "kind=equispaced-1d"]
        config = load_config(None, [f"mask.{setting}" for setting in mask])
    else:
        config = run.config
    scan = with_maps(scan.resized(config.matrix), config)
    kspace = torch.from_numpy(scan.kspace[options.slice])[None]
    mask = own_mask(scan, options.slice, config)[None]
    encoding = Encoding(mask, scan.sensitivity([options.slice]))
    reference = encoding.sampled_by(torch.ones_like(mask)).H(kspace).abs().numpy()
    print(f"{'':20s}  PSNR/dB    SSIM    NMSE")
    images, scores = [], {}
    made = reconstructions(torch.where(mask[:, None], kspace, 0), encoding, run)
    for name, image in made.items():
        images.append(image.abs().numpy()[0])
        [values] = slice_metrics(reference, images[-1][None], "slice-max")
        scores[name] = f"{values['psnr']:.2f} dB  ·  SSIM {values['ssim']:.3f}"
        print(f"{name:20s}  {values['psnr']:7.2f}  {values['ssim']:6.4f}  {values['nmse']:6.4f}")
    with atomic_file(options.out, ".png") as temporary:
        picture = comparison_figure(reference[0], np.stack(images), list(made), mask[0].numpy(), scores)
        temporary.write_bytes(picture)
    print(options.out)


if __name__ == "__main__":
    main()
