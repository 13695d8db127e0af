"""Several coils: from what a scanner wrote to whitened, compressed k-space with sensitivity maps."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from switchrecon.config import Config
from switchrecon.errors import DataError
from switchrecon.physics.coil_maps import espirit, walsh
from switchrecon.physics.coils import (
    CALIBRATION,
    calibration_region,
    compress_coils,
    geometric_compression,
    mix_coils,
    noise_covariance,
    whiten,
)
from switchrecon.physics.intensity import low_resolution
from switchrecon.scans.scan import Scan, own_mask

SMALLEST_REGION = 4  # side of the centre; ESPIRiT needs its kernel


def with_maps(scan: Scan, config: Config) -> Scan:
    """Return a scan of several coils made ready: whitened, compressed, with sensitivity maps.

    Noise is whitened where the file has a noise scan; coils are reduced to ``config.coils`` virtual ones; maps come
    from the fully measured centre of k-space alone, lines for calibration included, so that they are the same whether
    the rest is sampled or not.

    Parameters
    ----------
    scan
        At the matrix that it will be used at: maps belong to a matrix. With one coil it is returned as it is.
    config
        Masks of fully sampled scans, ``coils`` and ``coil_maps``.

    Raises
    ------
    DataError
        Where the centre is too small for maps, or geometric compression does not go with the masks.
    """
    if scan.coils == 1 or scan.maps is not None:
        return scan
    kspace = torch.from_numpy(scan.kspace)
    if scan.noise is not None:
        try:
            covariance = noise_covariance(torch.from_numpy(scan.noise), scan.noise_scale)
            # Whitened k-space counts in standard deviations of the noise; one factor brings the file's units back.
            unit = covariance.diagonal().real.mean().sqrt().item()
            kspace = whiten(kspace, covariance) * unit
        except DataError as error:
            raise DataError(f"{scan.path}: not whitened: {error}") from error
    masks = [own_mask(scan, index, config).numpy() for index in range(len(kspace))]
    calibration, region = kspace, maps_region(masks)
    if scan.calibration is not None:
        calibration = torch.from_numpy(scan.calibration)
        calibration = calibration if scan.noise is None else whiten(calibration, covariance) * unit
        region = maps_region([(own != 0).any(0).numpy() for own in calibration])
    if min(region) < SMALLEST_REGION:
        raise DataError(
            f"{scan.path}: no coil sensitivity maps: the fully measured centre has {region[0]}x{region[1]} samples; "
            f"expected at least {SMALLEST_REGION}x{SMALLEST_REGION}"
        )
    if config.coils is not None and config.coils < scan.coils:
        if config.coil_compression == "svd":
            calibration, matrix = compress_coils(calibration, config.coils, region)
            kspace = mix_coils(matrix, kspace)
        elif scan.calibration is not None:
            raise DataError(f"{scan.path}: geometric coil compression takes no lines of calibration; choose svd")
        elif not all((mask == mask[:1]).all() for mask in masks):
            raise DataError(f"{scan.path}: geometric coil compression needs whole columns of k-space; choose svd")
        else:
            kspace, _ = geometric_compression(kspace, config.coils, region[1])
            calibration = kspace
    try:
        maps = torch.stack([_maps(own, region, config) for own in calibration])
    except DataError as error:
        raise DataError(f"{scan.path}: no coil sensitivity maps: {error}") from error
    return replace(scan, kspace=kspace.numpy(), maps=maps.numpy(), noise=None, calibration=None)


def maps_region(masks: Sequence[np.ndarray]) -> tuple[int, int]:
    """Rows and columns of the centre that maps come from: measured in all masks (H, W), and not too large."""
    rows, columns = zip(*(calibration_region(mask, CALIBRATION) for mask in masks), strict=True)
    return min(rows), min(columns)


def _maps(kspace: torch.Tensor, region: tuple[int, int], config: Config) -> torch.Tensor:
    """Maps (n_coils, H, W) of one slice."""
    if config.coil_maps == "espirit":
        return espirit(kspace, region)
    sides = [side / n for side, n in zip(region, kspace.shape[-2:], strict=True)]
    return walsh(low_resolution(kspace, min(sides)))


def one_coil(scan: Scan) -> np.ndarray:
    """K-space (slices, H, W) of one coil: the only one, or the virtual one with the most energy."""
    if scan.coils == 1:
        return scan.kspace[:, 0]
    return compress_coils(torch.from_numpy(scan.kspace), 1)[0][:, 0].numpy()
