"""Slices kept in a folder: the same bits, found again, made again where anything has changed or is damaged."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from switchrecon.config import Config, load_config
from switchrecon.data import cache as module
from switchrecon.data.cache import SETTINGS
from switchrecon.data.piles import Pile, TrainingData, read_training_data
from switchrecon.data.slices import Slices
from switchrecon.errors import DataError
from switchrecon.physics.masks import draw_mask
from switchrecon.training.batches import Batches
from switchrecon.training.train import train
from tests.conftest import TRAINED, tiny_config

MakeScan = Callable[..., Path]


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[list[Path], list[Path]]:
    return [make_scan("full", 1), make_scan("full", 3)], [make_scan("sub", 2)]


def several_coils(path: Path) -> Path:
    """The scan at a path as three coils with smooth sensitivities."""
    kspace = np.load(path)[:1]
    phases = np.exp(1j * np.linspace(0, 2, 64))
    images = np.fft.ifft2(kspace)[:, None] * np.stack([phases[None] ** k * phases[:, None] for k in (0, 1, 2)])
    np.save(path, np.fft.fft2(images).astype(np.complex64))
    return path


def equal(first: TrainingData, second: TrainingData) -> bool:
    def alike(mine: Pile, theirs: Pile) -> bool:
        counts = [(p.subjects, p.scans, p.dropped, p.synthetic, p.retrospective) for p in (mine, theirs)]
        return counts[0] == counts[1] and all(
            (a.scale, a.volume, a.index, a.subject) == (b.scale, b.volume, b.index, b.subject)
            and all(
                torch.equal(u, v) if isinstance(u, torch.Tensor) else u is v
                for u, v in zip(
                    (a.image, a.mask, a.maps, a.measured_images),
                    (b.image, b.mask, b.maps, b.measured_images),
                    strict=True,
                )
            )
            for a, b in zip(mine.slices, theirs.slices, strict=True)
        )

    return all(alike(pile, second.piles[name]) for name, pile in first.piles.items())


def entries(cache: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in cache.iterdir()}


def forbid(*arguments: Any) -> None:
    raise AssertionError("a scan was prepared although the cache holds it")


@pytest.mark.parametrize(
    "settings",
    [(), ("corruption.kind=noise", "corruption.level=0.1", "pile_slices=2"), ("matrix=48", "slices_per_scan=1")],
    ids=["default", "corrupted", "resized"],
)
@pytest.mark.parametrize("pairing", ["unpaired", "paired", "simulated", "undersampled"])
def test_the_same_slices_with_and_without(
    tmp_path: Path,
    piles: tuple[list[Path], list[Path]],
    pairing: Any,
    settings: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(None, list(settings))
    plain = read_training_data(*piles, config, pairing)
    made = read_training_data(*piles, config, pairing, tmp_path / "cache")
    monkeypatch.setattr("switchrecon.data.piles.prepare", forbid)
    found = read_training_data(*piles, config, pairing, tmp_path / "cache")
    assert equal(plain, made)
    assert equal(plain, found)
    assert plain.fingerprint() == found.fingerprint()
    assert plain.matrix == found.matrix


def test_several_coils_and_measured_masks(tmp_path: Path, make_scan: MakeScan) -> None:
    config = load_config(None, ["mask.center_fraction=0.2"])
    mask = draw_mask(config.mask, (64, 64), volume="any", index=0)
    full, sub = [several_coils(make_scan("full", 1))], [make_scan("sub", 2, mask=mask)]
    for pairing, sides in (("simulated", (full, [])), ("undersampled", ([], sub))):
        plain, made, found = (
            read_training_data(*sides, config, pairing, cache)  # type: ignore[arg-type]
            for cache in (None, tmp_path / "cache", tmp_path / "cache")
        )
        assert equal(plain, made)
        assert equal(plain, found)
    assert plain.sub is not None
    assert plain.sub.retrospective == 0


def test_what_is_known_of_a_slice_is_not_read_from_its_images(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> TrainingData:
        return read_training_data(*piles, Config(), "unpaired", tmp_path)

    made = read()
    with monkeypatch.context() as patched:
        patched.setattr(module.CachedSlice, "load", forbid)
        found = read()
        assert found.fingerprint() == made.fingerprint()
        assert found.piles["sub"].acceleration() == made.piles["sub"].acceleration()
        assert found.centre_fraction(Config()) == made.centre_fraction(Config())
        lines = {own.line_direction for pile in found.piles.values() for own in Slices.of(pile.slices).sources}
    assert lines == {None}
    assert equal(made, found)


def test_the_fingerprint_is_that_of_the_scans_and_of_how_they_are_prepared(make_scan: MakeScan) -> None:
    first, second = make_scan("full", 1), make_scan("full", 2)

    def fingerprint(path: Path, *settings: str) -> str:
        return read_training_data([path], [], load_config(None, list(settings)), "simulated").fingerprint()

    known = fingerprint(first)
    assert fingerprint(first) == known
    others = {fingerprint(second), *(fingerprint(first, own) for own in ("mask.seed=1", "headroom=2", "pile_slices=1"))}
    assert len(others - {known}) == 4
    np.save(first, 1.0001 * np.load(first))
    assert fingerprint(first) != known


def test_a_smaller_measured_centre_scales_both_piles(tmp_path: Path, make_scan: MakeScan) -> None:
    """What is known of a slice is of the settings' centre; other centres are asked of the slice itself."""
    config = load_config(None, ["mask.center_fraction=0.2"])
    measured = config.mask.model_copy(update={"center_fraction": 0.1})
    sub = make_scan("sub", 2, mask=draw_mask(measured, (64, 64), volume="any", index=0))
    sides = [make_scan("full", 1)], [sub]
    plain, made, found = (read_training_data(*sides, config, "unpaired", cache) for cache in (None, tmp_path, tmp_path))
    assert 0.05 < plain.centre_fraction(config) < 0.2
    assert equal(plain, made)
    assert equal(plain, found)


@pytest.mark.parametrize("method", ["switchable", "joint", "supervised"])
def test_training_gives_the_same_weights(tmp_path: Path, piles: tuple[list[Path], list[Path]], method: str) -> None:
    config = tiny_config(f"method={method}", "cascades=1", "unet_width=2")
    runs = [
        train(config, *piles, tmp_path / name, cache=cache)
        for name, cache in (("plain", None), ("first", tmp_path / "cache"), ("second", tmp_path / "cache"))
    ]
    plain, first, second = (load_file(run / "model.safetensors") for run in runs)
    assert all(torch.equal(plain[name], other[name]) for other in (first, second) for name in plain)
    train(config, *piles, tmp_path / "plain", resume=True, cache=tmp_path / "cache")  # the same fingerprint


@pytest.mark.parametrize("which", [".npy", ".json"])
def test_a_damaged_entry_is_refused_and_made_again(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], which: str
) -> None:
    cache = tmp_path / "cache"
    plain = read_training_data(*piles, Config(), "unpaired", cache)
    sound = entries(cache)
    file = next(file for file in sorted(cache.iterdir()) if file.suffix == which)
    for damaged in (_flipped(sound[file.name], -9), sound[file.name][:-7], b""):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"damaged; made again from the scan"):
            again = read_training_data(*piles, Config(), "unpaired", cache)
        assert equal(plain, again)
        assert entries(cache) == sound
    next(file for file in cache.iterdir() if file.suffix == ".npy").unlink()
    with pytest.warns(UserWarning, match="damaged"):
        assert equal(plain, read_training_data(*piles, Config(), "unpaired", cache))


def _flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


def test_another_file_or_setting_is_another_entry(tmp_path: Path, make_scan: MakeScan) -> None:
    path, cache = make_scan("full", 1), tmp_path / "cache"

    def images(*settings: str) -> torch.Tensor:
        config = load_config(None, list(settings))
        data = read_training_data([path], [], config, "simulated", cache)
        assert equal(data, read_training_data([path], [], config, "simulated"))
        assert data.full is not None
        return torch.stack([own.image for own in data.full.slices])

    first = images()
    for number, settings in enumerate([("mask.acceleration=6",), ("matrix=48",), ("slices_per_scan=2",)], start=2):
        images(*settings)
        assert len(list(cache.glob("*.json"))) == number
    images("seed=3", "width=8", "method=iscl", "headroom=2")  # nothing that slices depend on
    assert len(list(cache.glob("*.json"))) == 4
    np.save(path, np.load(path) * np.linspace(1, 2, 64, dtype=np.float32))
    assert not torch.equal(images(), first)


def test_every_setting_that_a_slice_may_depend_on_is_in_the_key() -> None:
    """A setting added later has to be put on one of the two sides."""
    others = """method representation simulated_mask pile_slices headroom augment distortion contrast calls width
        residual_blocks output_deviation network cascades iterations refiner unet_width cascade_weights
        cascade_consistency
        extractor_depth code_size adversarial sampling_consistency_mask gate code_noise calibrate kept_part
        code_renewed warm_up epochs steps batch_size learning_rate final_learning_rate average_from
        lookahead_steps lookahead_rate seed checkpoint_every picture_every estimate data_consistency convention
        precision pairs subjects schedule optimizer gradient_clip average"""
    assert {*SETTINGS, *others.split()} == set(Config.model_fields)
    assert not set(SETTINGS) & set(others.split())


def test_nothing_is_kept_of_a_scan_that_is_refused(tmp_path: Path, make_scan: MakeScan) -> None:
    mask = draw_mask(Config().mask, (64, 64), volume="any", index=0)
    with pytest.raises(DataError, match="expected a fully sampled scan"):
        read_training_data([make_scan("full", 1, mask=mask)], [], Config(), "simulated", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_an_entry_holds_no_name(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    read_training_data(*piles, Config(), "unpaired", tmp_path / "cache")
    for name, content in entries(tmp_path / "cache").items():
        assert "subject" not in name
        assert b"subject" not in content


def test_slices_are_not_held_in_memory(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    data = read_training_data(*piles, Config(), "unpaired", tmp_path / "cache")
    Batches(data, Config(), "unpaired").batch(0)
    assert data.full is not None
    assert data.full.slices[0] is not data.full.slices[0]
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(tmp_path / "cache") not in maps.read_text()


def test_the_folder_is_an_option_or_an_environment_variable(
    tmp_path: Path,
    piles: tuple[list[Path], list[Path]],
    run_cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (full, *_), (sub, *_) = piles
    small = ["--set", "width=2", "--set", "residual_blocks=1", "--set", "steps=1", "--set", "method=supervised"]
    folders = ["--out", tmp_path / "run", "--cache", tmp_path / "option"]
    assert run_cli("train", "--full", full, "--sub", sub, *folders, *small)[0] in TRAINED
    assert len(list((tmp_path / "option").glob("*.json"))) == 2
    monkeypatch.setenv("SWITCHRECON_CACHE", str(tmp_path / "variable"))
    assert run_cli("train", "--full", full, "--sub", sub, "--out", tmp_path / "another", *small)[0] in TRAINED
    assert len(list((tmp_path / "variable").glob("*.json"))) == 2
    train(tiny_config("steps=1"), *piles, tmp_path / "third")  # which is a command's default alone
    assert len(list((tmp_path / "variable").glob("*.json"))) == 2


def test_two_processes_make_the_same_entry_at_once(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    script = (
        "import sys; from pathlib import Path; from switchrecon.config import Config;"
        "from switchrecon.data.piles import read_training_data;"
        "read_training_data(sys.argv[2:], [], Config(), 'simulated', Path(sys.argv[1]))"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "cache"), *map(str, piles[0])]
    started = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    made = read_training_data(piles[0], [], Config(), "simulated", tmp_path / "cache")
    assert equal(read_training_data(piles[0], [], Config(), "simulated"), made)


def test_last_bits_of_scales_are_no_other_data(make_scan: MakeScan) -> None:
    """Another processor adds in another order; a run goes on there. A scale that is 5 % off is another one."""
    scans = [make_scan("full", 1)], [make_scan("sub", 2)]
    data = read_training_data(*scans, load_config(None, []), "unpaired")
    known = data.fingerprint()
    for factor, same in ((1 + 1e-6, True), (1.05, False)):
        for slices in (Slices.of(pile.slices) for pile in data.piles.values()):
            slices.sources[:] = [source.divided(source.scale * factor) for source in slices.sources]
        assert (data.fingerprint() == known) is same
