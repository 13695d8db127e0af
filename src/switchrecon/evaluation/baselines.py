"""Reference methods without training."""

from torch import Tensor

from switchrecon.physics.operators import ONE_COIL, Coils, Encoding


def zero_filled(kspace: Tensor, mask: Tensor, coils: Coils = ONE_COIL) -> Tensor:
    """Return the adjoint reconstruction Aᴴk: unmeasured samples are zero, and coils are combined by their maps.

    Parameters
    ----------
    kspace
        Complex, shape (..., n_coils, H, W).
    mask
        Boolean (..., H, W).
    coils
        How the coils see the images.

    Returns
    -------
    Tensor
        Complex images (..., H, W), in the units of k-space.
    """
    return Encoding(mask, coils).H(kspace)
