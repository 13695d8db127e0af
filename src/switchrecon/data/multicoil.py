"""Several coils: from what a scanner wrote to whitened, compressed k-space with sensitivity maps."""

from dataclasses import replace

import numpy as np
import torch

from switchrecon.coils import (
    CALIBRATION,
    calibration_region,
    compress_coils,
    geometric_compression,
    noise_covariance,
    whiten,
)
from switchrecon.config import Config
from switchrecon.data.scan import Scan, own_mask
from switchrecon.errors import DataError
from switchrecon.espirit import espirit, walsh
from switchrecon.scaling import low_resolution


def with_maps(scan: Scan, config: Config) -> Scan:
    """A scan of several coils made ready: whitened, compressed, with sensitivity maps.

    Noise is whitened where the file has a noise scan; coils are reduced to ``config.coils`` virtual ones; maps come
    from the fully measured centre of k-space alone, so that they are the same whether the rest is sampled or not.

    Parameters
    ----------
    scan
        At the matrix that it will be used at: maps belong to a matrix. With one coil it is returned as it is.
    config
        Masks of fully sampled scans, ``coils`` and ``coil_maps``.

    Raises
    ------
    DataError
        Where the centre is too small for maps.
    """
    if scan.coils == 1 or scan.maps is not None:
        return scan
    kspace = torch.from_numpy(scan.kspace)
    if scan.noise is not None:
        scale = scan.geometry.get("noise_scale", 1.0)
        kspace = whiten(kspace, noise_covariance(torch.from_numpy(scan.noise), scale))
    masks = [own_mask(scan, index, config).numpy() for index in range(len(kspace))]
    rows, columns = zip(*(calibration_region(mask, CALIBRATION) for mask in masks), strict=True)
    region = (min(rows), min(columns))
    if config.coils is not None and config.coils < scan.coils:
        if config.coil_compression == "svd":
            kspace, _ = compress_coils(kspace, config.coils, region)
        else:
            kspace, _ = geometric_compression(kspace, config.coils, region[1])
    try:
        maps = torch.stack([_maps(own, region, config) for own in kspace])
    except DataError as error:
        raise DataError(f"{scan.path}: no coil sensitivity maps: {error}") from error
    return replace(scan, kspace=kspace.numpy(), maps=maps.numpy(), noise=None)


def _maps(kspace: torch.Tensor, region: tuple[int, int], config: Config) -> torch.Tensor:
    """Maps (n_coils, H, W) of one slice."""
    if config.coil_maps == "espirit":
        return espirit(kspace, region)
    sides = [side / n for side, n in zip(region, kspace.shape[-2:], strict=True)]
    return walsh(low_resolution(kspace, min(sides)))


def one_coil(scan: Scan) -> np.ndarray:
    """K-space (slices, H, W) of one coil: the only one, or the virtual one with the most energy."""
    if scan.coils == 1:
        return scan.kspace
    return compress_coils(torch.from_numpy(scan.kspace), 1)[0][:, 0].numpy()
