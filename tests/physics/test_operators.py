"""Every operator passes one adjointness test; composition and errors."""

import pytest
import torch
from torch import Tensor

from switchrecon.errors import DataError
from switchrecon.physics.consistency import data_consistency
from switchrecon.physics.operators import (
    ONE_COIL,
    Encoding,
    Fourier,
    Operator,
    Sampling,
    Sensitivity,
    coils_of,
    stacked,
)

MASK = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.4
MAPS = torch.randn(3, 6, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
OPERATORS = {
    "fourier": (Fourier(), (2, 6, 8)),
    "sampling": (Sampling(MASK), (2, 6, 8)),
    "sampling lines": (Sampling(MASK[0]), (2, 6, 8)),
    "sensitivity": (Sensitivity(MAPS), (2, 6, 8)),
    "single coil": (Sampling(MASK) @ Fourier(), (2, 6, 8)),
    "multi-coil": (Sampling(MASK) @ Fourier() @ Sensitivity(MAPS), (2, 6, 8)),
    "one coil": (Encoding(MASK), (2, 6, 8)),
    "coils": (Encoding(MASK, Sensitivity(MAPS)), (2, 6, 8)),
    "normal": (Encoding(MASK, Sensitivity(MAPS)).N, (2, 6, 8)),
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
    assert repr(operator.H) == f"({operator!r}).H"
    assert repr(Encoding(MASK).N) == "(Sampling(mask 1x6x8) @ Fourier() @ OneCoil()).N"


def test_the_normal_operator_is_the_adjoint_after_the_operator_and_its_own_adjoint() -> None:
    operator = Encoding(MASK, Sensitivity(MAPS))
    u = torch.randn(6, 8, dtype=torch.complex128)
    torch.testing.assert_close(operator.N(u), operator.H(operator(u)))
    assert operator.N.H(u).equal(operator.N(u))
    assert Encoding(MASK).projects
    once = Encoding(MASK).N(u)
    torch.testing.assert_close(Encoding(MASK).N(once), once)  # a projection


def test_one_coil_is_a_coil_that_sees_all_places_alike() -> None:
    ones = Sensitivity(torch.ones(1, 6, 8, dtype=torch.complex128))
    u = torch.randn(2, 6, 8, dtype=torch.complex128)
    assert ONE_COIL(u).shape == (2, 1, 6, 8)
    torch.testing.assert_close(Encoding(MASK)(u), Encoding(MASK, ones)(u))
    torch.testing.assert_close(Encoding(MASK).H(ONE_COIL(u)), Encoding(MASK, ones).H(ONE_COIL(u)))
    assert (ONE_COIL.number, ones.number, ONE_COIL.in_use().item(), ones.in_use().item()) == (1, 1, 1, 1)
    assert ONE_COIL.changed(torch.negative) is ONE_COIL


def test_coils_that_fill_up_a_batch_do_not_count() -> None:
    maps = torch.zeros(3, 4, 6, 8, dtype=torch.complex64)
    maps[0], maps[1, :2] = 1, 1
    assert Sensitivity(maps).in_use().tolist() == [4, 2, 1]


def test_some_images_of_a_batch_and_their_coils() -> None:
    encoding = Encoding(torch.stack([MASK, ~MASK]), Sensitivity(torch.stack([MAPS, 2 * MAPS])))
    u = torch.randn(2, 6, 8, dtype=torch.complex128)
    torch.testing.assert_close(encoding[1](u[1]), encoding(u)[1])
    torch.testing.assert_close(encoding[:1](u[:1]), encoding(u)[:1])


def test_an_operator_without_a_direction_says_which() -> None:
    u = torch.zeros(6, 8, dtype=torch.complex64)
    with pytest.raises(TypeError, match=r"Operator\(\) has no forward"):
        Operator().forward(u)
    with pytest.raises(TypeError, match=r"Operator\(\) has no adjoint"):
        Operator().adjoint(u)


def test_the_adjoint_of_an_adjoint_is_the_operator_and_compositions_are_flat() -> None:
    operator = (Sampling(MASK) @ Fourier()) @ (Fourier().H @ Fourier())
    u = torch.randn(6, 8, dtype=torch.complex128)
    torch.testing.assert_close(operator.H.adjoint(u), operator(u))
    assert [type(part).__name__ for part in operator.operators] == ["Sampling", "Fourier", "Adjoint", "Fourier"]  # type: ignore[attr-defined]


def test_errors_name_the_operator() -> None:
    with pytest.raises(DataError, match=r"Sampling\(mask 6x8\) does not fit .*\(2, 8, 6\)"):
        Sampling(MASK)(torch.zeros(2, 8, 6, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"Sensitivity\(maps 3x6x8\) does not fit an image"):
        Sensitivity(MAPS)(torch.zeros(8, 6, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"Sensitivity\(maps 2x3x6x8\) does not fit an image of shape \(3, 6, 8\)"):
        Sensitivity(MAPS.expand(2, 3, 6, 8))(torch.zeros(3, 6, 8, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"OneCoil\(\) does not fit coil images of shape \(2, 6, 8\)"):
        Encoding(MASK).H(torch.zeros(2, 6, 8, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"^Sampling.* @ Fourier\(\) @ Sensitivity.*: Sensitivity.* does not fit"):
        (Sampling(MASK) @ Fourier() @ Sensitivity(MAPS))(torch.zeros(8, 6, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"^\(Sampling.*\).H: Sampling\(mask 6x8\) does not fit"):
        (Sampling(MASK) @ Fourier()).H(torch.zeros(8, 6, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"^Sampling.*: Sampling\(mask 1x6x8\) does not fit .*\(1, 8, 6\)"):
        Encoding(MASK).N(torch.zeros(8, 6, dtype=torch.complex64))
    with pytest.raises(DataError, match=r"Sampling\(mask 2x1x6x8\) does not fit .*\(1, 6, 8\)"):
        Encoding(MASK.expand(2, 6, 8)).N(torch.zeros(6, 8, dtype=torch.complex64))
    with pytest.raises(DataError, match="coil images"):
        Sensitivity(MAPS).H(torch.zeros(2, 6, 8, dtype=torch.complex64))


def test_hard_data_consistency_restores_measured_samples_and_keeps_the_others() -> None:
    kspace = torch.randn(2, 6, 8, dtype=torch.complex128)
    image = torch.randn(2, 6, 8, dtype=torch.complex128)
    operator = Sampling(MASK) @ Fourier()
    result = Fourier()(data_consistency(operator, image, Sampling(MASK)(kspace)))
    torch.testing.assert_close(result, torch.where(MASK, kspace, Fourier()(image)))


def test_hard_data_consistency_with_a_full_mask_is_the_inverse_transform() -> None:
    kspace = torch.randn(2, 6, 8, dtype=torch.complex128)
    full = torch.ones(6, 8, dtype=torch.bool)
    result = data_consistency(Sampling(full) @ Fourier(), torch.randn_like(kspace), kspace)
    torch.testing.assert_close(result, Fourier().H(kspace))


def test_soft_data_consistency_takes_a_part_of_each() -> None:
    measured = Sampling(MASK)(torch.randn(2, 6, 8, dtype=torch.complex128))
    image = torch.randn(2, 6, 8, dtype=torch.complex128)
    operator = Sampling(MASK) @ Fourier()
    result = operator(data_consistency(operator, image, measured, 0.25))
    torch.testing.assert_close(result, 0.25 * measured + 0.75 * operator(image))


def test_data_consistency_of_several_coils_lowers_the_residual() -> None:
    maps = MAPS / MAPS.abs().square().sum(0, keepdim=True).sqrt()
    operator = Sampling(MASK) @ Fourier() @ Sensitivity(maps)
    truth = torch.randn(6, 8, dtype=MAPS.dtype)
    image = torch.zeros_like(truth)
    residuals = []
    for _ in range(3):
        image = data_consistency(operator, image, operator(truth))
        residuals.append((operator(image) - operator(truth)).abs().square().sum().item())
    assert residuals[0] > residuals[1] > residuals[2]


def test_joined_encodings_act_on_each_batch_as_their_own() -> None:
    """Also where one scan has one coil and others several: coils that are not there give zeros."""
    random = torch.Generator().manual_seed(0)
    masks = torch.rand(3, 2, 6, 8, generator=random) < 0.5
    maps = [None, *(torch.randn(2, coils, 6, 8, dtype=torch.complex64, generator=random) for coils in (2, 3))]
    encodings = [Encoding(mask, coils_of(own)) for mask, own in zip(masks, maps, strict=True)]
    images = torch.randn(3, 2, 6, 8, dtype=torch.complex64, generator=random)
    joined = Encoding.joined(encodings)
    measured = joined(images.flatten(0, 1))
    assert measured.shape == (6, 3, 6, 8)
    for own, image, found in zip(encodings, images, measured.split(2), strict=True):
        expected = own(image)
        torch.testing.assert_close(found[:, : expected.shape[1]], expected)
        assert not found[:, expected.shape[1] :].any()
    back = joined.H(measured)
    for own, image, found in zip(encodings, images, back.split(2), strict=True):
        torch.testing.assert_close(found, own.H(own(image)))
    assert Encoding.joined(encodings[:1] * 2).coils.alike


def maps_of(coils: int, batch: int = 2) -> Tensor:
    """Smooth maps (batch, coils, 4, 6), different in each."""
    random = torch.Generator().manual_seed(coils)
    return torch.randn(batch, coils, 4, 6, dtype=torch.complex64, generator=random)


def test_the_normal_operator_is_its_own_adjoint() -> None:
    mask = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    encoding, image = Encoding(mask, Sensitivity(maps_of(3))), maps_of(1)[:, 0]
    expected = encoding.H(encoding(image))
    torch.testing.assert_close(encoding.N(image), expected)
    torch.testing.assert_close(encoding.N.adjoint(image), expected)


def test_an_error_is_spread_over_the_coils_in_use() -> None:
    maps = maps_of(9)
    maps[:, 4:] = 0  # five that only fill up a batch
    error = torch.arange(2 * 9 * 4 * 6, dtype=torch.float32).view(2, 9, 4, 6)
    torch.testing.assert_close(Sensitivity(maps).spread(error), error.sum(1) / 2)
    one = torch.rand(1, 1, 1, 4, 1)
    assert ONE_COIL.spread(one).shape == (1, 1, 4, 1)  # only the coil's axis goes
    one = torch.rand(2, 1, 4, 1)
    assert ONE_COIL.spread(one).shape == (2, 4, 1)
    assert torch.equal(ONE_COIL.spread(one), one[:, 0])


def test_other_masks_and_devices_keep_the_coils() -> None:
    maps, mask = maps_of(3), torch.ones(2, 4, 6, dtype=torch.bool)
    other = mask.clone()
    other[:, ::2] = False
    found = Encoding(mask, Sensitivity(maps)).sampled_by(other)
    assert torch.equal(found.mask, other)
    assert isinstance(found.coils, Sensitivity)
    assert torch.equal(found.coils.maps, maps)
    moved = Encoding(mask, Sensitivity(maps)).to(torch.device("meta"))
    assert moved.mask.is_meta
    assert isinstance(moved.coils, Sensitivity)
    assert moved.coils.maps.is_meta
    assert moved.coils.maps.shape == maps.shape
    assert Encoding(mask).to(torch.device("meta")).coils is ONE_COIL


def test_coils_are_stacked_with_zeros_for_those_that_are_missing() -> None:
    first, second = maps_of(2, batch=1)[0], maps_of(3, batch=1)[0]
    found = stacked([Sensitivity(first), Sensitivity(second)])
    assert isinstance(found, Sensitivity)
    assert found.maps.shape == (2, 3, 4, 6)
    assert torch.equal(found.maps[0, :2], first)
    assert torch.equal(found.maps[0, 2], torch.zeros(4, 6, dtype=torch.complex64))
    assert torch.equal(found.maps[1], second)
    assert stacked([ONE_COIL, ONE_COIL]) is ONE_COIL


def test_samples_keep_their_type() -> None:
    for kind in (torch.complex128, torch.float16):
        found = Sampling(torch.tensor([True, False]))(torch.ones(3, 2, dtype=kind))
        assert found.dtype == kind
        assert found[:, 1].abs().max() == 0
    assert Sampling(torch.ones(2, dtype=torch.bool, device="meta"))(torch.ones(3, 2, device="meta")).is_meta


def test_joined_encodings_of_one_coil_and_several_are_complex() -> None:
    mask = torch.ones(1, 4, 6, dtype=torch.bool)
    found = Encoding.joined([Encoding(mask), Encoding(mask, Sensitivity(maps_of(2, batch=1)))])
    assert isinstance(found.coils, Sensitivity)
    assert found.coils.maps.dtype == torch.complex64
    assert torch.equal(found.coils.maps[0, 0], torch.ones(4, 6, dtype=torch.complex64))
    assert Encoding.joined([Encoding(mask), Encoding(mask)]).coils is ONE_COIL


LINES = {"points": (5, 6), "lines along H": (1, 6), "lines along W": (5, 1), "all": (1, 1)}


@pytest.mark.parametrize("lines", LINES)
@pytest.mark.parametrize("coils", [1, 3])
@pytest.mark.parametrize("matrix", [(8, 6), (7, 9)])
def test_the_quick_normal_operator_is_the_adjoint_after_the_operator(
    lines: str, coils: int, matrix: tuple[int, int]
) -> None:
    """Its transforms have no shifts, and none along whole lines."""
    random = torch.Generator().manual_seed(0)
    size = tuple(side if wide > 1 else 1 for side, wide in zip(matrix, LINES[lines], strict=True))
    mask = (torch.rand(2, *size, generator=random) < 0.5).expand(2, *matrix)
    if lines == "all":
        mask = torch.ones(2, *matrix, dtype=torch.bool)
    maps = torch.randn(2, coils, *matrix, dtype=torch.complex128, generator=random)
    encoding = Encoding(mask, Sensitivity(maps) if coils > 1 else ONE_COIL)
    image = torch.randn(2, *matrix, dtype=torch.complex128, generator=random)
    torch.testing.assert_close(encoding.N(image), encoding.H(encoding(image)), rtol=1e-12, atol=1e-12)
    assert len(encoding.transformed) == (2 if lines == "points" else 1 if lines != "all" else 0)
