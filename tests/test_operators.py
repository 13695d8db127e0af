"""Every operator passes one adjointness test; composition and errors."""

import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.operators import Fourier, Operator, Sampling, Sensitivity, hard_data_consistency

MASK = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.4
MAPS = torch.randn(3, 6, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
OPERATORS = {
    "fourier": (Fourier(), (2, 6, 8)),
    "sampling": (Sampling(MASK), (2, 6, 8)),
    "sampling lines": (Sampling(MASK[0]), (2, 6, 8)),
    "sensitivity": (Sensitivity(MAPS), (2, 6, 8)),
    "single coil": (Sampling(MASK) @ Fourier(), (2, 6, 8)),
    "multi-coil": (Sampling(MASK) @ Fourier() @ Sensitivity(MAPS), (2, 6, 8)),
    "adjoint": ((Sampling(MASK) @ Fourier()).H, (2, 6, 8)),
}


def check_adjoint(operator: Operator, shape: tuple[int, ...]) -> None:
    """⟨Au, v⟩ = ⟨u, Aᴴv⟩ for random complex u and v."""
    random = torch.Generator().manual_seed(2)
    u = torch.randn(shape, dtype=torch.complex128, generator=random)
    image = operator(u)
    v = torch.randn(image.shape, dtype=torch.complex128, generator=random)
    left = torch.vdot(v.flatten(), image.flatten())
    right = torch.vdot(operator.H(v).flatten(), u.flatten())
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("name", OPERATORS)
def test_adjoint(name: str) -> None:
    check_adjoint(*OPERATORS[name])


def test_composition_applies_from_right_to_left_and_names_itself() -> None:
    operator = Sampling(MASK) @ Fourier() @ Sensitivity(MAPS)
    u = torch.randn(6, 8, dtype=torch.complex128)
    torch.testing.assert_close(operator(u), Sampling(MASK)(Fourier()(Sensitivity(MAPS)(u))))
    assert repr(operator) == "Sampling(mask 6x8) @ Fourier() @ Sensitivity(maps 3x6x8)"
    assert operator.H.H is operator


def test_errors_name_the_operator() -> None:
    with pytest.raises(DataError, match=r"Sampling\(mask 6x8\) does not fit .*\(2, 8, 6\)"):
        Sampling(MASK)(torch.zeros(2, 8, 6, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"Sensitivity\(maps 3x6x8\) does not fit an image"):
        Sensitivity(MAPS)(torch.zeros(8, 6, dtype=torch.complex64))
    with pytest.raises(DataError, match="coil images"):
        Sensitivity(MAPS).H(torch.zeros(2, 6, 8, dtype=torch.complex64))


def test_hard_data_consistency_restores_measured_samples_and_keeps_the_others() -> None:
    kspace = torch.randn(2, 6, 8, dtype=torch.complex128)
    image = torch.randn(2, 6, 8, dtype=torch.complex128)
    result = Fourier()(hard_data_consistency(image, kspace, MASK))
    torch.testing.assert_close(result, torch.where(MASK, kspace, Fourier()(image)))


def test_hard_data_consistency_with_a_full_mask_is_the_inverse_transform() -> None:
    kspace = torch.randn(2, 6, 8, dtype=torch.complex128)
    full = torch.ones(6, 8, dtype=torch.bool)
    result = hard_data_consistency(torch.randn_like(kspace), kspace, full)
    torch.testing.assert_close(result, Fourier().H(kspace))
