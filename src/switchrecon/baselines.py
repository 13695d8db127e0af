"""Reference methods that learn nothing."""

from torch import Tensor

from switchrecon.operators import Fourier, Sampling


def zero_filled(kspace: Tensor, mask: Tensor) -> Tensor:
    """The adjoint reconstruction Aᴴk with A = R F: unmeasured samples are zero.

    Parameters
    ----------
    kspace
        Complex, shape (..., H, W).
    mask
        Boolean, broadcasts to k-space.

    Returns
    -------
    Tensor
        Complex images (..., H, W), in the units of k-space.
    """
    return (Sampling(mask) @ Fourier()).H(Sampling(mask)(kspace))
