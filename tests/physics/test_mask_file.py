"""Masks of a user's own, in a file: the how-to page works as it is written, and mistakes are told."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from switchrecon.config import load_config
from switchrecon.data.augment import DIHEDRAL, FLIPS
from switchrecon.data.piles import read_training_data
from switchrecon.errors import ConfigError, RunError
from switchrecon.physics.masks import MaskConfig, draw_mask, measured_acceleration
from switchrecon.training.batches import symmetries
from switchrecon.training.train import train
from tests.conftest import tiny_config
from tests.pages import code_of, commands_of

MakeScan = Callable[..., Path]
HEAD = "import numpy as np\nfrom switchrecon.physics.masks import MaskKind\n"


def write(file: Path, body: str, dimensions: int = 2) -> str:
    """A mask file; returns its setting."""
    function = f"def draw(matrix, acceleration, fraction, random):\n    {body}\n"
    file.write_text(f"{HEAD}{function}MINE = MaskKind(draw, {dimensions})\n")
    return f"{file}:MINE"


def test_the_page(
    run_cli: Callable[..., tuple[int, str, str]], make_scan: MakeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_scan("full", 1)
    make_scan("sub", 2)
    monkeypatch.chdir(tmp_path)
    code = code_of("how-to/mask.md")
    Path("spokes.py").write_text(code["spokes.py"], encoding="utf-8")
    [picture], [training] = (commands_of(code[title]) for title in ("look", "train"))
    status, out, err = run_cli(*picture)
    assert status == 0, err
    assert Path("spokes.png").read_bytes()[:4] == b"\x89PNG"
    assert "nominal acceleration 6, measured" in out
    mask = draw_mask(MaskConfig(kind="spokes.py:SPOKES", acceleration=6), (64, 64), volume="a", index=0)
    assert measured_acceleration(mask) == pytest.approx(6, rel=0.06)
    assert mask[30:35, 30:35].all()
    tiny = [f"--set={own}" for own in ("steps=2", "unet_width=2", "cascades=1")]
    status, out, err = run_cli(*training, *tiny)
    assert status in (0, 3), err  # 3: two steps may end worse than zero filling, which the command says
    assert "mask.kind" not in out + err  # the warning that scans have other masks than the settings
    status, out, err = run_cli("reconstruct", "run", make_scan("test", 3), "--out", "images", "--undersample", "run")
    assert status == 0, err


def test_a_mask_file_that_has_changed(make_scan: MakeScan, tmp_path: Path) -> None:
    piles = [make_scan("full", 1)], [make_scan("sub", 2)]
    body = "mask = random.uniform(size=matrix) < 1 / acceleration; mask[28:36, 28:36] = True; return mask"
    kind = write(tmp_path / "mine.py", body)
    config = tiny_config(f"mask.kind={kind}", "method=supervised")
    train(config, *piles, tmp_path / "run")
    train(config, *piles, tmp_path / "run", resume=True)
    cached = read_training_data(*piles, config, "paired", tmp_path / "cache")
    write(tmp_path / "mine.py", body.replace("28:36, 28:36", "26:38, 26:38"))
    os.utime(tmp_path / "mine.py", ns=(1, 1))  # file systems may round the times of two writes to one
    again = read_training_data(*piles, config, "paired", tmp_path / "cache")
    for data, full in ((cached, False), (again, True)):
        assert data.full is not None
        assert bool(data.full.slices[0].mask[26:38, 26:38].all()) == full
    write(tmp_path / "mine.py", f"{body}  # the same masks, but who can tell?")
    with pytest.raises(RunError, match="a mask's or the method's file differ"):
        train(config, *piles, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("body", "dimensions", "message"),
    [
        ("return 1 / 0", 2, r"^mask '.*mine.py:MINE': raised ZeroDivisionError: division by zero$"),
        ("return np.ones(matrix)", 2, r"returned float64 \(8, 8\), expected a boolean array \(8, 8\)"),
        ("return np.ones(8, bool)", 1, r"returned bool \(8,\), expected"),
        ("return [True]", 2, "returned list, expected"),
        ("return np.zeros(matrix, bool)", 2, "measures nothing"),
        ("return np.eye(8, dtype=bool)", 1, "states 1 dimension, but its rows differ"),
    ],
)
def test_what_a_function_must_not_return(tmp_path: Path, body: str, dimensions: int, message: str) -> None:
    settings = MaskConfig(kind=write(tmp_path / "mine.py", body, dimensions))
    with pytest.raises(ConfigError, match=message):
        draw_mask(settings, (8, 8), volume="a", index=0)


def test_what_a_setting_may_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'mask.kind' has a wrong value 'poison-2d': .*did you mean 'poisson-2d'"):
        load_config(None, ["mask.kind=poison-2d"])
    (tmp_path / "mine.py").write_text(f"{HEAD}MINE = 3\n")
    with pytest.raises(ConfigError, match="is of type int, expected a MaskKind"):
        draw_mask(MaskConfig(kind=f"{tmp_path / 'mine.py'}:MINE"), (8, 8), volume="a", index=0)
    with pytest.raises(ConfigError, match="no such file"):
        draw_mask(MaskConfig(kind="absent.py:MINE"), (8, 8), volume="a", index=0)


def test_lines_are_not_turned_and_points_are(make_scan: MakeScan, tmp_path: Path) -> None:
    lines = "np.tile((np.arange(64) % 2 == 0) | (abs(np.arange(64) - 32) < 4), (64, 1))"
    points = f"{lines} & (np.arange(64)[:, None] % 5 > 0)"
    for body, dimensions, allowed in ((lines, 1, FLIPS), (points, 2, DIHEDRAL)):
        kind = write(tmp_path / f"mine{dimensions}.py", f"return {body}", dimensions)
        config = tiny_config(f"mask.kind={kind}", "mask.acceleration=2")
        data = read_training_data([], [make_scan("sub", 2)], config, "undersampled")
        assert symmetries(config, data) == allowed
