"""Lesions that are put into scans: where they lie, and what is said of reconstructions whose answers are known."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from switchrecon.config import load_config
from switchrecon.errors import DataError, RunError
from switchrecon.phantoms.scans import write_heads
from switchrecon.physics.operators import Encoding
from switchrecon.scans.files import read_scan
from switchrecon.trust.discs import CONTRASTS, DIAMETERS, Disc, addition, doubted, leak, place, recovery, regions
from switchrecon.trust.lesions import Pairs, Seen, look_for_lesions

RunCli = Callable[..., tuple[int, str, str]]
Trained = Callable[..., Path]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic heads."""
    folder = tmp_path_factory.mktemp("lesions") / "heads"
    write_heads(folder, range(60, 63), 2, 64)
    return folder


def test_a_disc_is_one_inside_and_half_at_its_edge() -> None:
    profile = Disc(10, 12, 5).profile((24, 32))
    assert profile[10, 12] == profile[12, 12] == profile[10, 10] == 1
    assert profile[10, 15] == 0
    assert float(profile[8, 10]) == pytest.approx(3 - math.sqrt(8))
    assert profile.sum() == pytest.approx(math.pi * 2.5**2, rel=0.1)


def test_a_disc_lies_in_the_foreground_with_its_edge() -> None:
    inside = np.zeros((32, 32), dtype=bool)
    inside[8:20, 8:24] = True
    for size in DIAMETERS:
        for seed in range(20):
            disc = place(inside, size, np.random.RandomState(seed))
            assert disc is not None
            assert inside[disc.profile((32, 32)).numpy() > 0].all()
    assert place(inside, 13, np.random.RandomState(0)) is None
    whole = place(np.ones((32, 32), bool), 5, np.random.RandomState(0))
    assert whole is not None
    assert 3 <= whole.row < 29  # the edge of the image is no foreground
    assert place(inside, 5, np.random.RandomState(1)) == place(inside, 5, np.random.RandomState(1))


def test_the_magnitude_changes_by_a_part_of_the_local_mean_and_the_phase_stays() -> None:
    truth = torch.full((32, 32), 3 * np.exp(1j), dtype=torch.complex64)
    disc = Disc(16, 16, 5)
    for contrast in CONTRASTS:
        changed = truth + addition(truth, disc, contrast)
        assert float(changed[16, 16].abs()) == pytest.approx(3 * (1 + contrast), rel=1e-6)
        torch.testing.assert_close(changed.angle(), truth.angle())
        assert float(changed[0, 0].abs()) == pytest.approx(3, rel=1e-6)


def test_recovery_and_leak_of_hand_worked_changes() -> None:
    profile = Disc(16, 16, 5).profile((32, 32))
    true = 0.3 * profile
    assert recovery(true, true, profile) == pytest.approx(1)
    assert recovery(0.4 * true, true, profile) == pytest.approx(0.4, rel=1e-5)
    assert recovery(-true, true, profile) == pytest.approx(-1)
    assert leak(true, true, profile) == 0
    moved = true.roll(10, 0)
    assert recovery(moved, true, profile) == 0
    assert leak(moved, true, profile) == pytest.approx(1)


def test_a_disc_is_doubted_where_half_of_it_is_in_the_top_tenth() -> None:
    profile, inside = Disc(16, 16, 5).profile((32, 32)), torch.ones(32, 32, dtype=torch.bool)
    assert doubted(profile, profile, inside)
    assert not doubted(1 - profile, profile, inside)
    assert not doubted(torch.ones(32, 32), profile, inside)  # nothing stands out
    assert not doubted(torch.zeros(32, 32), profile, torch.zeros(32, 32, dtype=torch.bool))


@pytest.mark.parametrize("density", [0.1, 0.3, 0.45])
def test_regions_are_those_of_scipy(density: float) -> None:
    for seed in range(10):
        mask = np.random.RandomState(seed).rand(24, 30) < density
        labels, count = scipy.ndimage.label(mask, np.ones((3, 3)))
        sizes = scipy.ndimage.sum_labels(mask, labels, range(1, count + 1))
        for least in (1, 3, 8):
            assert regions(torch.from_numpy(mask), least) == (np.asarray(sizes) >= least).sum()
    assert regions(torch.zeros(5, 5, dtype=torch.bool)) == 0


def looked(heads: Path, estimate: Callable[[Pairs], Callable[[Tensor, Encoding], Tensor]]) -> Seen:
    config = load_config(None, ["mask.kind=random-1d"])
    scan = read_scan(heads / "phantom-0060.npy")
    pairs = Pairs.of(scan, 0, config)
    assert len(pairs.discs) == len(DIAMETERS) * len(CONTRASTS)
    assert not (pairs.kspace * ~pairs.encoding.mask[:, None]).any()
    torch.testing.assert_close(pairs.encoding(pairs.truth), pairs.kspace, rtol=1e-4, atol=1e-4)
    return pairs.seen_by(estimate(pairs), 0.08, (1, 1, 0), 2)


def test_an_identity_recovers_all_and_doubts_nothing(heads: Path) -> None:
    """The identity knows each truth, from any of its samples, as a network without a fault would."""

    def identity(pairs: Pairs) -> Callable[[Tensor, Encoding], Tensor]:
        def estimate(kspace: Tensor, encoding: Encoding) -> Tensor:
            made = []
            for own, mask in zip(kspace, encoding.mask, strict=True):
                expected = Encoding(mask.expand(len(pairs.truth), -1, -1))(pairs.truth)
                made.append(pairs.truth[(expected - own).abs().square().sum((1, 2, 3)).argmin()])
            return torch.stack(made)

        return estimate

    seen = looked(heads, identity)
    assert [lesion.recovery for lesion in seen.lesions] == pytest.approx([1] * 18, abs=1e-5)
    assert [lesion.leak for lesion in seen.lesions] == pytest.approx([0] * 18, abs=1e-5)
    assert not any(lesion.lost for lesion in seen.lesions)
    assert set(seen.false) == {0}


def test_a_network_that_erases_loses_all_and_is_told_so(heads: Path) -> None:
    seen = looked(heads, lambda pairs: lambda kspace, encoding: pairs.truth[:1].expand(len(kspace), -1, -1))
    assert all(lesion.lost for lesion in seen.lesions)
    assert [lesion.recovery for lesion in seen.lesions] == [0] * 18
    assert {lesion.doubted for lesion in seen.lesions} == {False}  # what is always alike does not spread
    assert set(seen.false) == {0}


def test_a_network_that_makes_something_up_has_one_false_structure(heads: Path) -> None:
    def invents(pairs: Pairs) -> Callable[[Tensor, Encoding], Tensor]:
        made = pairs.truth[:1].clone()
        made[0, 2:6, 2:6] += 0.12 * torch.quantile(made.abs(), 0.99)
        return lambda kspace, encoding: made.expand(len(kspace), -1, -1)

    assert looked(heads, invents).false == (1, 1, 1, 0, 0, 0)


def test_discs_go_through_the_coils_and_through_corruption(heads: Path, tmp_path: Path) -> None:
    write_heads(tmp_path, [60], 1, 64, coils=3)
    scan = read_scan(tmp_path / "phantom-0060.npy")
    maps = np.full((1, 3, 64, 64), np.sqrt(1 / 3), dtype=np.complex64)
    plain = load_config(None, ["mask.kind=random-1d"])
    pairs = Pairs.of(replace(scan, maps=maps), 0, plain)
    assert pairs.kspace.shape == (19, 3, 64, 64)
    torch.testing.assert_close(
        pairs.kspace[5] - pairs.kspace[0],
        pairs.encoding[5:6](pairs.truth[5:6] - pairs.truth[:1])[0],
        atol=1e-4,
        rtol=1e-3,
    )
    one = read_scan(heads / "phantom-0060.npy")
    for kind, level in (("noise", 0.05), ("ghosts", 0.5), ("phase-errors", 0.3)):
        config = load_config(None, ["mask.kind=random-1d", f"corruption.kind={kind}", f"corruption.level={level}"])
        bad, good = Pairs.of(one, 0, config), Pairs.of(one, 0, plain)
        change, expected = bad.kspace[3] - bad.kspace[0], good.kspace[3] - good.kspace[0]
        assert not torch.allclose(bad.kspace[0], good.kspace[0], atol=1e-2)
        torch.testing.assert_close(
            change.abs(), expected.abs(), atol=2e-4, rtol=1e-3
        )  # noise is shared, phase is turned


def test_the_command_line(trained: Trained, heads: Path, tmp_path: Path, run_cli: RunCli) -> None:
    code, out, _ = run_cli("lesions", trained(), "--reference", heads, "--out", tmp_path / "out", "--slices", 1)
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lesions.csv", "lesions.json", "report.html"]
    study = json.loads((tmp_path / "out" / "lesions.json").read_text())
    assert (study["subjects"], study["scans"], study["slices"]) == (3, 3, 3)
    assert list(study["methods"]) == ["zero-filled", "switchable"]
    with (tmp_path / "out" / "lesions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 18
    for name, method in study["methods"].items():
        own = [row for row in rows if row["method"] == name]
        assert method["total"]["lesions"] == 54
        assert method["total"]["lost"] == pytest.approx(np.mean([row["lost"] == "1" for row in own]))
        assert method["total"]["recovery"] == pytest.approx(np.mean([float(row["recovery"]) for row in own]), rel=1e-4)
        assert [(size["diameter"], size["contrast"]) for size in method["sizes"]] == [
            (diameter, contrast) for diameter in DIAMETERS for contrast in CONTRASTS
        ]
        false = [point["false"] for point in method["curve"]]
        assert len(false) == 6
        assert all((row["doubted"] == "") == (row["lost"] == "0") for row in own)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "phantom-006" not in page + (tmp_path / "out" / "lesions.csv").read_text()
    assert "zero-filled" in page
    assert "lost" in out


def test_bad_references(trained: Trained, heads: Path, tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="was used to train"):
        look_for_lesions([trained()], [make_scan("seen", 1)])
    with pytest.raises(DataError, match="must be fully sampled"):
        look_for_lesions([trained()], [make_scan("fast", 30, mask=np.arange(64) % 2 == 0)])
    small = np.zeros((1, 64, 64), dtype=np.complex64)
    small[0, 30:33, 30] = 1
    np.save(tmp_path / "dots.npy", np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(small, (1, 2)), norm="ortho"), (1, 2)))
    with pytest.raises(DataError, match="no slice of the references has room for a disc of 3 pixels"):
        look_for_lesions([trained()], [tmp_path / "dots.npy"])
    with pytest.raises(RunError, match="no such run folder"):
        look_for_lesions([tmp_path / "nothing"], [heads])
