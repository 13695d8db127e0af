"""Reference methods that learn nothing."""

from torch import Tensor

from switchrecon.physics.operators import Encoding


def zero_filled(kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
    """The adjoint reconstruction Aᴴk: unmeasured samples are zero, and coils are combined by their maps.

    Parameters
    ----------
    kspace
        Complex, shape (..., H, W), or (..., n_coils, H, W) with maps.
    mask
        Boolean (..., H, W).
    maps
        Coil sensitivity maps of k-space's shape; None with one coil.

    Returns
    -------
    Tensor
        Complex images (..., H, W), in the units of k-space.
    """
    return Encoding(mask, maps).H(kspace)
