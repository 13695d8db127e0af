"""The comparison of two piles: its numbers, its verdicts, and its honesty about few subjects."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from switchrecon.config import Config, load_config
from switchrecon.data import domains, piles
from switchrecon.data.domains import _sentence, auc, auc_interval, compare_domains, domain_of, glance_at
from switchrecon.data.features import (
    CALM,
    FEATURES,
    QUIET,
    centre_features,
    low_resolution_centre,
    slice_centre,
    slice_features,
)
from switchrecon.errors import DataError
from switchrecon.methods.methods import JOINT, JOINT_ADVERSARIAL, Method
from switchrecon.physics.fourier import fourier
from switchrecon.physics.masks import draw_mask
from switchrecon.physics.noise import noise_level
from switchrecon.scans.scan import Scan
from switchrecon.training.gate import through_gate
from switchrecon.training.ready import make_ready
from tests.conftest import blob_images, tiny_config

FULL_MASK = np.ones((64, 64), dtype=bool)


def kspace_of(images: np.ndarray) -> np.ndarray:
    return fourier(torch.from_numpy(images.astype(np.complex64))).numpy()


def pile(folder: Path, subjects: range, change: Callable[[np.ndarray], np.ndarray] = lambda u: u) -> Path:
    folder.mkdir()
    for subject in subjects:
        np.save(folder / f"s{subject}.npy", kspace_of(change(blob_images(subject, 6))))
    return folder


def darker_outside(images: np.ndarray) -> np.ndarray:
    """Another contrast: weak signal is suppressed."""
    return images * np.abs(images) ** 1.5


def test_auc_by_hand() -> None:
    assert auc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1
    assert auc(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == 0.75
    assert auc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5


def test_the_interval_is_over_subjects() -> None:
    scores = [np.zeros(20), np.r_[np.ones(10), -np.ones(10)]]  # one subject of X above all, one below
    low, high = auc_interval(scores, [["a"] * 10 + ["b"] * 10, ["c"] * 10 + ["d"] * 10])
    assert (low, high) == (0, 1)


def test_noise_level_is_that_of_the_outer_samples() -> None:
    random = np.random.RandomState(0)
    noise = 0.3 * (random.normal(size=(128, 96)) + 1j * random.normal(size=(128, 96)))
    mask = random.uniform(size=noise.shape) < 0.5
    assert noise_level(noise, mask) == pytest.approx(0.3, rel=0.05)
    centre_only = np.zeros_like(mask)
    centre_only[60:68, 44:52] = True
    assert np.isnan(noise_level(noise, centre_only))


def test_features_do_not_depend_on_scale_or_on_unmeasured_samples() -> None:
    kspace = kspace_of(blob_images(3, 1))[0]
    mask = draw_mask(tiny_config().mask, (64, 64), volume="v", index=0)
    numbers, image = slice_features(kspace, FULL_MASK, 0.08)
    assert len(numbers) == len(FEATURES)
    scaled, _ = slice_features(1e6 * kspace, FULL_MASK, 0.08)
    np.testing.assert_allclose(scaled, numbers, rtol=1e-4, atol=1e-5)
    undersampled, _ = slice_features(kspace * mask, mask, 0.08)
    noise = [what for _, what in FEATURES].index("noise over signal")
    np.testing.assert_allclose(np.delete(undersampled, noise), np.delete(numbers, noise), rtol=1e-4, atol=1e-5)
    assert image.shape == (5, 5)
    assert low_resolution_centre(kspace, 0.0).shape == (3, 3)


def test_alike_piles_and_different_ones(tmp_path: Path) -> None:
    full, sub = pile(tmp_path / "full", range(8)), pile(tmp_path / "sub", range(10, 18))
    other = pile(tmp_path / "other", range(20, 28), darker_outside)
    shown: list[int] = []
    found = compare_domains([full], [sub], Config(), lambda *piles: shown.extend(map(len, piles)))
    assert found.verdict != "differ"
    assert found.subjects == {"full": 8, "sub": 8}
    assert "fully sampled" in found.masks
    assert shown == [6, 6]
    different = compare_domains([full], [other], Config())
    assert different.verdict == "differ"
    assert different.sentence.startswith("The piles differ, in ")
    assert different.auc.low > 0.65
    assert different.auc.value > found.auc.high


def test_the_sentence_names_the_settings_that_help(tmp_path: Path) -> None:
    def alike_but(**changed: float) -> str:
        effects = np.array([changed.get(about, 0.0) for about, _ in FEATURES])
        return _sentence("differ", effects, few=False)

    assert "use joint-equivariant with contrast=1, not an" in alike_but(contrast=-2.0)
    assert "use joint with calibrate=[noise], not an" in alike_but(noise=2.0)
    assert "use joint-equivariant with contrast=1 and calibrate=[noise], not an" in alike_but(noise=2.0, contrast=1.0)
    assert "use joint, not an" in alike_but(noise=-2.0, anatomy=1.0)


def test_undersampling_alone_is_no_difference(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    masks = [draw_mask(tiny_config().mask, (64, 64), volume="v", index=i) for i in range(6)]
    full = [make_scan("full", subject, slices=6) for subject in range(6)]
    sub = [make_scan("sub", subject, slices=6, mask=np.stack(masks)) for subject in range(10, 16)]
    found = compare_domains(full, sub, Config())
    assert found.verdict != "differ"
    assert "point masks of acceleration" in found.masks


def test_no_more_is_seen_of_scans_to_be_undersampled_than_training_will_see(tmp_path: Path) -> None:
    """Noise that only unmeasured samples have is no feature of X, and a centre that is not measured is none either."""
    sub, full = pile(tmp_path / "sub", range(4)), pile(tmp_path / "full", range(10, 14))
    config = Config()
    files = sorted(sub.iterdir())

    def features() -> np.ndarray:
        return domain_of([glance_at(file, config, None, measured=True) for file in files], 0.08).features

    before = features()
    for path in sub.iterdir():
        kspace = np.load(path)
        for index, own in enumerate(kspace):
            hidden = ~draw_mask(config.mask, (64, 64), volume=path.name, index=index)
            own[hidden] = 1e3
        np.save(path, kspace)
    np.testing.assert_allclose(features(), before, rtol=1e-5)
    with pytest.raises(DataError, match="less than 3 samples at 64x64: there is no image without aliases"):
        compare_domains([full], [sub], load_config(None, ["mask.center_fraction=0.02"]))


def test_many_subjects_of_one_kind_are_called_alike(tmp_path: Path) -> None:
    found = compare_domains([pile(tmp_path / "full", range(40))], [pile(tmp_path / "sub", range(40, 80))], Config())
    assert found.verdict == "alike"
    assert found.auc.high < 0.75
    config = Config(method="joint-adversarial")
    method, facts = through_gate(JOINT_ADVERSARIAL, config, [tmp_path / "full"], [tmp_path / "sub"])
    assert method is JOINT_ADVERSARIAL
    assert facts.verdict == "alike"


def test_zero_padding_is_no_difference(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    padded = np.ones((6, 64, 64), dtype=bool)
    padded[..., :8] = padded[..., -8:] = False
    lines = draw_mask(tiny_config("mask.kind=random-1d").mask, (64, 64), volume="v", index=0)
    full = [make_scan("full", subject, slices=6, mask=padded) for subject in range(6)]
    sub = [make_scan("sub", subject, slices=6, mask=padded & lines) for subject in range(10, 16)]
    assert compare_domains(full, sub, Config()).verdict != "differ"


def test_the_size_that_scans_were_padded_to_is_no_difference(tmp_path: Path) -> None:
    full, sub = pile(tmp_path / "full", range(6)), pile(tmp_path / "sub", range(10, 16))
    plain = compare_domains([full], [sub], Config())
    for path in sub.iterdir():
        np.save(path, np.pad(np.load(path), ((0, 0), (32, 32), (32, 32))))
    padded = compare_domains([full], [sub], Config())
    assert padded.auc == pytest.approx(plain.auc)
    assert padded.verdict == plain.verdict != "differ"


def test_undersampled_scans_are_no_fully_sampled_pile(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    mask = draw_mask(tiny_config().mask, (64, 64), volume="v", index=0)
    full, sub = make_scan("full", 1, slices=6, mask=mask), make_scan("sub", 2, slices=6)
    with pytest.raises(DataError, match=r"undersampled k-space \(acceleration 4.*--full needs"):
        compare_domains([full], [sub], Config())


@pytest.mark.parametrize("side", [64, 128])
def test_little_noise_and_the_rest_of_a_phase_are_none(side: int) -> None:
    """Of a smooth image, whose rim of k-space is noise alone; at any matrix and centre."""
    rows, columns = np.mgrid[:side, :side] - side // 2
    image = np.exp(-((np.hypot(rows, columns) / (0.2 * side)) ** 2))[None]
    random = np.random.RandomState(0)
    noise = random.normal(size=image.shape) + 1j * random.normal(size=image.shape)
    names = [about for about, _ in FEATURES]

    def numbers(level: float, fraction: float) -> list[float]:
        mask = np.ones((side, side), dtype=bool)
        return slice_features((kspace_of(image) + level * noise)[0], mask, fraction)[0]

    for fraction in (0.08, 0.16):
        values = [numbers(level, fraction)[names.index("noise")] for level in (0.0, 0.01, 0.05, 0.1)]
        assert values[0] == values[1] == np.log10(QUIET)
        assert values[3] - values[2] == pytest.approx(np.log10(2), abs=0.02)
        bright = np.quantile(np.abs(low_resolution_centre(kspace_of(image)[0], fraction)), 0.99)
        bright *= round(fraction * side) / side  # an orthonormal transform of fewer samples is brighter
        assert 10 ** values[2] == pytest.approx(0.05 / bright, rel=0.05)
        assert numbers(0.0, fraction)[names.index("phase")] == CALM


def test_noise_is_found_where_it_is_all_that_differs(tmp_path: Path) -> None:
    full, sub = pile(tmp_path / "full", range(8)), pile(tmp_path / "sub", range(10, 18))
    found = compare_domains([full], [sub], load_config(None, ["corruption.kind=noise", "corruption.level=0.05"]))
    assert found.verdict == "differ"
    assert "in noise: " in found.sentence
    assert "use joint with calibrate=[noise]" in found.sentence


def test_one_subject_cannot_speak_for_a_pile(tmp_path: Path) -> None:
    full, other = pile(tmp_path / "full", range(1)), pile(tmp_path / "other", range(20, 28), darker_outside)
    found = compare_domains([full], [other], Config())
    assert found.verdict == "unknown"
    assert found.sentence.startswith("One subject in a pile")
    with pytest.raises(DataError, match="both --full and --sub"):
        compare_domains([full], [full], Config())
    few = pile(tmp_path / "few", range(30, 31), lambda u: u[:2])
    with pytest.raises(DataError, match="2 slices are too few"):
        compare_domains([other], [few], Config())


def test_the_command_line_says_it_in_a_sentence(run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    full, other = pile(tmp_path / "full", range(6)), pile(tmp_path / "other", range(20, 26), darker_outside)
    code, out, err = run_cli("compare-domains", "--full", full, "--sub", other, "--out", tmp_path / "out")
    assert code == 0, err
    assert out.startswith("The piles differ, in ")
    assert "AUC 0.95 [0.88, " in out


def test_the_gate_opens_only_for_alike_piles(tmp_path: Path, messages: list[str]) -> None:
    full, sub = pile(tmp_path / "full", range(8)), pile(tmp_path / "sub", range(10, 18))
    other = pile(tmp_path / "other", range(20, 28), darker_outside)

    def gated(second: Path, gate: str) -> Method:
        config = Config(method="joint-adversarial", gate=gate)  # type: ignore[arg-type]
        found, facts = through_gate(JOINT_ADVERSARIAL, config, [full], [second])
        assert facts.open == (found is JOINT_ADVERSARIAL)
        return found

    assert gated(other, "open") is JOINT_ADVERSARIAL
    verdict = compare_domains([full], [sub], Config()).verdict
    assert (gated(sub, "auto") is JOINT_ADVERSARIAL) == (verdict == "alike")
    messages.clear()
    closed = gated(other, "auto")
    assert "The piles differ" in "\n".join(messages)
    assert (closed.cast, closed.phases) == (JOINT.cast, JOINT.phases)
    assert gated(sub, "closed").phases == JOINT.phases


def test_the_features_of_a_centre_are_those_of_the_whole_slice() -> None:
    kspace, mask = kspace_of(blob_images(3, 1))[0][:, :50], np.ones((64, 50), dtype=bool)
    for fraction in (0.3, 0.2, 0.08, 0.0):
        kept = slice_centre(kspace, mask, 0.3)
        assert kept.samples.shape == (19, 15)
        numbers, image = centre_features(kept, fraction)
        expected, whole = slice_features(kspace, mask, fraction)
        assert numbers == expected
        np.testing.assert_array_equal(image, np.abs(low_resolution_centre(kspace, fraction)))
        np.testing.assert_array_equal(image, whole)


def test_a_gated_training_reads_each_scan_once_to_compare_and_once_to_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, sub = pile(tmp_path / "full", range(4)), pile(tmp_path / "sub", range(10, 14))
    reads: dict[str, Counter[str]] = {"compared": Counter(), "learned": Counter()}
    for module, what in ((domains, "compared"), (piles, "learned")):

        def counting(
            path: Path, *rest: Any, read: Callable[..., Scan] = module.read_scan, seen: Counter[str] = reads[what]
        ) -> Scan:
            seen[path.name] += 1
            return read(path, *rest)

        monkeypatch.setattr(module, "read_scan", counting)
    settings = ["method=joint-adversarial", "cascades=1", "unet_width=2", "width=2", "steps=1"]
    make_ready(load_config(None, settings), [full], [sub], None)
    names = [file.name for folder in (full, sub) for file in folder.iterdir()]
    assert reads == {"compared": Counter(names), "learned": Counter(names)}
    first = next(full.iterdir())  # zero-padded, so that it has to be resized
    np.save(first, np.pad(np.load(first), ((0, 0), (8, 8), (8, 8))))
    compare_domains([full], [sub], Config())
    assert reads["compared"] == Counter(2 * names + [first.name])
