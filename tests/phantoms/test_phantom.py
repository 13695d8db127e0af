"""Synthetic heads: the signal equation, the anatomy, and what a scan adds to it."""

import numpy as np
import pytest

from switchrecon.phantoms.head import CONTRASTS, TISSUES, Sequence, Tissue, draw_head, signal

NAMES = list(TISSUES)
BRAIN = ("csf", "grey", "white", "deep_grey", "vessels", "dura", "lesion")


def where(labels: np.ndarray, *names: str) -> np.ndarray:
    """Return the mask of some tissues in a label map."""
    return np.isin(labels, [NAMES.index(name) for name in names])


def reached(barrier: np.ndarray) -> np.ndarray:
    """Return what a flood from the corner reaches, through pixel sides, without crossing the barrier."""
    wet = np.zeros_like(barrier)
    wet[0, 0] = True
    while True:
        grown = wet.copy()
        grown[1:] |= wet[:-1]
        grown[:-1] |= wet[1:]
        grown[:, 1:] |= wet[:, :-1]
        grown[:, :-1] |= wet[:, 1:]
        grown &= ~barrier
        if np.array_equal(grown, wet):
            return wet
        wet = grown


def test_spin_echo_signal_by_hand() -> None:
    # 0.8 (1 − 1/e) (1/e) for TR = T1 and TE = T2.
    found = signal(Tissue("gel", 1000.0, 100.0, 0.8), Sequence("SE", 1000.0, 100.0, None))
    assert found == pytest.approx(0.186036, abs=1e-6)


def test_inversion_recovery_signal_by_hand() -> None:
    # TI = T1 ln 2 leaves only the last term of 1 − 2 e^(−TI/T1) + e^(−TR/T1): 0.8 (1/e) (1/e).
    gel = Tissue("gel", 1000.0, 100.0, 0.8)
    assert signal(gel, Sequence("IR", 1000.0, 100.0, 693.147181)) == pytest.approx(0.108268, abs=1e-6)
    # Just after the inversion the magnetisation is −1; the magnitude is the proton density.
    assert signal(gel, Sequence("IR", 1e6, 0.0, 0.0)) == pytest.approx(0.8)


def test_the_contrasts_order_the_tissues_as_in_the_clinic() -> None:
    s = {c: {name: signal(tissue, CONTRASTS[c]) for name, tissue in TISSUES.items()} for c in CONTRASTS}
    assert max(s["T2w"], key=s["T2w"].__getitem__) == "csf"
    assert s["T2w"]["grey"] > 1.3 * s["T2w"]["white"]
    assert s["T1w"]["white"] > 1.3 * s["T1w"]["grey"]
    assert s["T1w"]["csf"] < 0.1 * s["T1w"]["grey"]
    assert s["FLAIR"]["csf"] < 0.05 * s["FLAIR"]["white"]
    assert s["FLAIR"]["lesion"] > 1.3 * s["FLAIR"]["grey"]
    assert s["PD"]["grey"] > s["PD"]["white"]
    assert all(values["air"] == 0 for values in s.values())


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
def test_the_image_shows_the_contrast(contrast: str) -> None:
    head = draw_head(3, contrast=contrast, slices=1, noise=0.0, shading=False)
    brightest = max(signal(tissue, CONTRASTS[contrast]) for tissue in TISSUES.values())
    for name in ("white", "grey"):
        median = np.median(np.abs(head.image[where(head.labels, name)]))
        assert median == pytest.approx(signal(TISSUES[name], CONTRASTS[contrast]) / brightest, rel=0.1)


def test_a_head_is_repeatable() -> None:
    first, second = (draw_head(11, slices=2, matrix=64, lesions=2) for _ in range(2))
    assert first.subject == "phantom-0011"
    assert first.image.dtype == np.complex64
    assert first.labels.dtype == np.uint8
    assert first.image.shape == first.labels.shape == (2, 64, 64)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.labels, second.labels)
    assert first.lesions == second.lesions


def test_subjects_differ() -> None:
    grey = [where(draw_head(subject, slices=1).labels, "grey").ravel() for subject in range(4)]
    correlation = np.corrcoef(grey)[np.triu_indices(4, 1)]
    # Cortex lies near the skull in every head, so a little correlation is anatomy; the folds have none.
    assert correlation.max() < 0.5


def test_contrasts_show_the_same_head() -> None:
    heads = [draw_head(4, contrast=contrast, slices=1, matrix=96) for contrast in CONTRASTS]
    assert all(np.array_equal(head.labels, heads[0].labels) for head in heads)
    assert not np.allclose(abs(heads[0].image), abs(heads[1].image), atol=0.1)


@pytest.mark.parametrize("subject", range(3))
def test_the_anatomy_of_a_middle_slice(subject: int) -> None:
    labels = draw_head(subject, slices=1, noise=0.0).labels[0]
    brain = where(labels, *BRAIN)
    assert not reached(where(labels, "skull"))[brain].any(), "the skull is open"
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    assert not edge.any(), "the head leaves the image"
    share = {name: where(labels, name).sum() / brain.sum() for name in ("csf", "grey", "white")}
    assert 0.05 < share["csf"] < 0.25
    assert 0.28 < share["grey"] < 0.52
    assert 0.33 < share["white"] < 0.58
    area = brain.mean() * 24.0**2  # cm², of a field of view of 24 cm; an ellipse of 13.2 by 16.4 cm has 170
    assert 120 < area < 210
    for name in ("skin", "fat", "marrow", "dura"):
        assert where(labels, name).sum() > 30, name


def test_the_anatomy_changes_smoothly_with_the_level() -> None:
    labels = draw_head(2, slices=6, noise=0.0).labels
    white = where(labels, "white").reshape(6, -1)
    near = np.corrcoef(white)
    assert np.diag(near, 1).min() > 0.5
    assert np.diag(near, 1).min() > near[0, -1]
    deep = where(labels, "deep_grey").sum(axis=(1, 2))
    assert deep[0] > 300
    assert deep[-1] == 0


def test_the_noise_has_the_level_asked_for() -> None:
    head = draw_head(5, slices=2, matrix=64, noise=0.05)
    assert not head.labels[:, :8, :8].any()
    corner = head.image[:, :8, :8]
    # 128 samples: the standard deviation is known to 6 %, and the Gibbs ringing of the scalp is far below.
    assert corner.real.std() == pytest.approx(0.05, rel=0.18)
    assert corner.imag.std() == pytest.approx(0.05, rel=0.18)
    clean = draw_head(5, slices=2, matrix=64, noise=0.0)
    difference = head.image - clean.image
    assert difference.real.std() == pytest.approx(0.05, rel=0.03)
    assert difference.imag.std() == pytest.approx(0.05, rel=0.03)


def test_a_small_matrix_is_the_centre_of_k_space() -> None:
    large = draw_head(6, slices=1, noise=0.0, lesions=2)
    small = draw_head(6, slices=1, matrix=64, noise=0.0, lesions=2)
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(large.image[0]), norm="ortho"))
    kspace = kspace[96:160, 96:160] * 64 / 256
    expected = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace), norm="ortho"))
    assert np.abs(small.image[0] - expected).max() < 1e-5
    agree = small.labels[0] == large.labels[0, ::4, ::4]
    assert agree.mean() > 0.75
    for (_, row, column, radius), (_, y, x, r) in zip(small.lesions, large.lesions, strict=True):
        assert (row - 32, column - 32, radius) == pytest.approx(((y - 128) / 4, (x - 128) / 4, r / 4))


def test_a_large_matrix_shows_the_same_head() -> None:
    large, usual = (draw_head(6, slices=1, matrix=matrix, noise=0.0) for matrix in (320, 256))
    # Every fifth pixel of the large matrix lies on every fourth of the usual one.
    same = large.labels[0, ::5, ::5] == usual.labels[0, ::4, ::4]
    assert same.mean() > 0.95


def test_shading_and_phase_are_smooth_and_bounded() -> None:
    bare = draw_head(8, slices=1, noise=0.0, phase=False, shading=False).image[0]
    assert not bare.imag.any()
    head = bare.real > 0.05
    shaded = draw_head(8, slices=1, noise=0.0, phase=False).image[0]
    factor = (shaded.real / np.where(head, bare.real, 1))[head]
    assert factor.min() > 0.7
    assert factor.max() < 1.3
    assert np.ptp(factor) > 0.05
    turned = draw_head(8, slices=1, noise=0.0, shading=False).image[0]
    assert np.allclose(np.abs(turned), bare.real, atol=1e-5)
    inner = head[:, 1:] & head[:, :-1]
    step = np.angle(turned[:, 1:] * turned[:, :-1].conj())[inner]
    assert 0 < np.abs(step).max() < 0.2


def test_lesions_change_the_image_only_where_they_are() -> None:
    kwargs = {"contrast": "FLAIR", "slices": 2, "noise": 0.02}
    without, with_lesions = (draw_head(9, lesions=count, **kwargs) for count in (0, 3))
    assert without.lesions == []
    assert len(with_lesions.lesions) == 3
    change = np.abs(with_lesions.image - without.image)
    rows, columns = np.mgrid[:256, :256]
    allowed = np.zeros(change.shape, bool)
    for number, row, column, radius in with_lesions.lesions:
        distance = np.hypot(rows - row, columns - column)
        allowed[number] |= distance <= radius + 0.01
        assert change[number][distance < radius / 3].mean() > 0.15
        assert where(with_lesions.labels[number], "lesion")[distance < radius / 3].all()
    assert change[~allowed].max() == 0
    assert not where(without.labels, "lesion").any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contrast": "T2"}, "'T2'.*T1w, T2w, PD, FLAIR"),
        ({"matrix": 63}, "63.*even"),
        ({"matrix": 30}, "30.*32 to 1024"),
        ({"matrix": 64.0}, "64.0.*whole"),
        ({"slices": 0}, "slices is 0.*1 to 64"),
        ({"lesions": -1}, "lesions is -1.*0 to 32"),
        ({"lesions": 33}, "lesions is 33.*0 to 32"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"subject": -1}, "subject is -1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_head(**{"subject": 1, **arguments})
