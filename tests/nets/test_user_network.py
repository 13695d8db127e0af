"""A network from a user's file: the page that explains it works, word for word, and no stranger's code runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from switchrecon import Reconstructor
from switchrecon.core.user_code import known
from switchrecon.errors import ConfigError, RunError
from switchrecon.experiments.claim import write_claim
from switchrecon.experiments.crossval import open_grid
from switchrecon.experiments.recipe import load_recipe
from switchrecon.nets.builder import build_generator, find_network
from switchrecon.physics.masks import draw_mask
from switchrecon.reconstruction.onnx import export_run
from switchrecon.runs.checkpoint import load_model, save_model, sha256
from switchrecon.training.train import train
from tests.conftest import tiny_config
from tests.pages import code_of

MakeScan = Callable[..., Path]
RunCli = Callable[..., tuple[int, str, str]]


def page_code() -> str:
    return code_of("how-to/network.md")["mynet.py"]


@pytest.fixture(autouse=True)
def _fresh_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has run nothing yet, without LPIPS weights, in a folder that holds ``mynet.py`` of the page."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("switchrecon.core.user_code._run_here", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").write_text(page_code())


def new_user(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Go on as another user, or on another machine."""
    monkeypatch.setattr("switchrecon.core.user_code._run_here", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))


def trained_with(name: str, make_scan: MakeScan, run: Path = Path("run")) -> Path:
    return train(tiny_config("method=supervised", f"network={name}", "steps=2"), [make_scan("full", 1)], [], run)


def undersampled(make_scan: MakeScan) -> tuple[np.ndarray, np.ndarray]:
    mask = draw_mask(tiny_config().mask, (64, 64), volume="new", index=0)
    return np.load(make_scan("new", 9, 2)) * mask, mask


def test_the_whole_way_of_the_page(tmp_path: Path, make_scan: MakeScan, run_cli: RunCli) -> None:
    full, sub, test = make_scan("full", 1, 2), make_scan("sub", 2, 2), make_scan("test", 3, 1)
    kspace, mask = undersampled(make_scan)
    np.save("fast.npy", kspace)
    common = ["--set", "width=2", "--set", "steps=2", "--set", "network=mynet.py:Residual"]
    for command in (
        ["train", "--method", "joint", "--full", full, "--sub", sub, "--out", "run", *common],
        ["reconstruct", "run", "fast.npy", "--out", "images"],
        ["reconstruct", "run", "fast.npy", "--out", "adapted", "--adapt", 2],
        ["evaluate", "run", "--reference", test, "--out", "results"],
        ["export", "run", "--out", "mine.onnx"],
        ["report", "results", "--claim"],
    ):
        code, _, errors = run_cli(*command)
        assert code in ((0, 3) if command[0] == "train" else (0,)), errors  # 3: two steps may not beat zero filling
    loaded = Reconstructor.load("run")
    assert type(loaded.generator).__name__ == "Residual"
    np.testing.assert_array_equal(np.load("images/fast.npy"), loaded(kspace, mask))
    assert np.load("adapted/fast.npy").shape == kspace.shape
    assert "joint" in json.loads(Path("results/metrics.json").read_text())["methods"]
    assert "the authors' network Residual" in Path("results/claim.md").read_text()
    assert str(tmp_path).encode() not in Path("mine.onnx").read_bytes()
    card = load_model(Path("run/model.safetensors"))[1]
    assert card.network_sha256 == sha256(page_code().encode())
    assert Path("run/network.py").read_text() == page_code()
    assert card.parameters["generator"] == sum(p.numel() for p in loaded.generator.parameters())


def test_in_a_cross_validation_it_is_a_row(tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {
        "title": "Mine",
        "data": {"heads": 3, "head_slices": 1},
        "folds": 3,
        "run_folds": [0],
        "methods": {"mine": {"method": "simulated", "network": "mynet.py:Residual"}},
        "common": {"matrix": 64, "width": 2, "steps": 1},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    grid = open_grid(load_recipe("recipe.yaml"), None, Path("grid"))
    [cell] = grid.cells
    code, _, errors = run_cli("crossval", "--config", "recipe.yaml", "--out", "grid", "--cell", cell.key)
    assert code == 0, errors
    assert (cell.folder / "DONE").is_file()
    identity = json.loads((cell.folder / "cell.json").read_text())["identity"]
    assert identity["network_sha256"] == sha256(page_code().encode())
    new_user(monkeypatch, tmp_path / "other")
    (cell.folder / "DONE").unlink()
    code, _, errors = run_cli("crossval", "--out", "grid", "--cell", cell.key)
    assert (code, "its recipe runs code" in errors) == (2, True)
    code, _, errors = run_cli("crossval", "--out", "grid", "--cell", cell.key, "--trust-code")
    assert code == 0, errors
    recipe["methods"] = {"mine": {"method": "simulated", "network": "papre"}}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ConfigError, match="unknown network 'papre'; did you mean 'paper'"):
        load_recipe("recipe.yaml")


@pytest.mark.parametrize(("name", "files"), [("cascades", 2), ("GradientStep", 0)])
def test_networks_that_take_the_encoding(make_scan: MakeScan, name: str, files: int) -> None:
    run = trained_with(f"mynet.py:{name}", make_scan)
    kspace, mask = undersampled(make_scan)
    image = Reconstructor.load(run)(kspace, mask)
    other = Reconstructor.load(run)(kspace, mask & draw_mask(tiny_config().mask, (64, 64), volume="other", index=0))
    assert np.abs(image - other).max() > 0
    if files:
        assert len(export_run(run, Path("net.onnx"))) == files
    else:
        with pytest.raises(ConfigError, match="ONNX has no complex numbers"):
            export_run(run, Path("net.onnx"))
    with pytest.raises(ConfigError, match="needs representation 'complex'"):
        build_generator(tiny_config(f"network=mynet.py:{name}", "representation=magnitude"), adaptive=False)


BAD = """
import functools
import torch
from torch import nn

class Empty(nn.Module):
    def __init__(self, config):
        super().__init__()

class NoSettings(nn.Module):
    def __init__(self):
        super().__init__()

class Forgetful(nn.Conv2d):
    def __init__(self, config):
        super().__init__(config.channels, config.channels, 1)
    def forward(self, image, encoding):
        return image

class Shrinks(nn.Conv2d):
    def __init__(self, config):
        super().__init__(config.channels, config.channels, 3)

def number(config):
    return 3
"""


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("bad.py:Epmty", "no class or function that makes a network named 'Epmty'; did you mean 'Empty'"),
        ("bad.py:Module", "no class or function that makes a network named 'Module'"),
        ("bad.py:Empty", "has no parameters"),
        ("bad.py:NoSettings", r"NoSettings\(config\) raised TypeError"),
        ("bad.py:Forgetful", r"forward cannot be called with \(image\).*takes_encoding = True"),
        ("bad.py:number", "gave int; expected a torch.nn.Module"),
        ("absent.py:Net", r"no such file absent.py; expected FILE.py:NAME"),
        ("bad.py:os.system", r"'os.system' cannot be a name in a Python file; expected FILE.py:NAME"),
        ("broken.py:Net", "broken.py raised SyntaxError"),
    ],
)
def test_what_is_no_network_is_refused_in_one_sentence(reference: str, message: str) -> None:
    Path("bad.py").write_text(BAD)
    Path("broken.py").write_text("def f(:\n")
    with pytest.raises(ConfigError, match=f"^network '{reference}': .*{message}"):
        build_generator(tiny_config(f"network={reference}"), adaptive=False)


def test_an_image_of_another_shape_is_refused(make_scan: MakeScan) -> None:
    Path("bad.py").write_text(BAD)
    with pytest.raises(ConfigError, match=r"network Shrinks made \(1, 2, 62, 62\) of an image \(1, 2, 64, 64\)"):
        trained_with("bad.py:Shrinks", make_scan)


def test_a_switchable_method_refuses_it(make_scan: MakeScan) -> None:
    config = tiny_config("network=mynet.py:Residual")
    with pytest.raises(ConfigError, match="has no AdaIN sites, which method 'switchable' needs"):
        train(config, [make_scan("full", 1)], [make_scan("sub", 2)], Path("run"))
    assert not Path("run").exists()


def test_a_file_that_is_gone_or_has_changed_is_told_with_the_remedy(make_scan: MakeScan, run_cli: RunCli) -> None:
    run = trained_with("mynet.py:Residual", make_scan)
    kspace, mask = undersampled(make_scan)
    expected = Reconstructor.load(run)(kspace, mask)
    Path("mynet.py").write_text(page_code() + "\n# changed\n")
    with pytest.raises(RunError, match=r"mynet.py is not the file that this run was trained with.*--trust-code"):
        Reconstructor.load(run)
    config = tiny_config("method=supervised", "network=mynet.py:Residual", "steps=2")
    with pytest.raises(RunError, match="the network's file differ from those of the run"):
        train(config, [make_scan("full", 1)], [], run, resume=True)
    assert (run / "network.py").read_text() == page_code()
    Path("mynet.py").unlink()
    with pytest.raises(RunError, match=r"no such file mynet.py; restore it.*--trust-code"):
        Reconstructor.load(run)
    np.testing.assert_array_equal(Reconstructor.load(run, trust_code=True)(kspace, mask), expected)
    np.save("fast.npy", kspace)
    assert run_cli("reconstruct", run, "fast.npy", "--out", "images")[0] == 2
    for command in (
        ["reconstruct", run, "fast.npy", "--out", "images"],
        ["evaluate", run, "--reference", make_scan("test", 3, 1), "--out", "results"],
        ["export", run, "--out", "mine.onnx"],
    ):
        code, _, errors = run_cli(*command, "--trust-code")
        assert code == 0, errors


EVIL = """
from pathlib import Path
Path("executed").touch()
from torch import nn

class Net(nn.Conv2d):
    def __init__(self, config):
        super().__init__(config.channels, config.channels, 1)
"""


def test_opening_a_run_from_somebody_else_runs_no_code(
    tmp_path: Path, make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    """The stranger controls the whole folder, and even a file at the path that the card names, with a right hash."""
    Path("theirs.py").write_text(EVIL)
    run = trained_with("theirs.py:Net", make_scan)
    marker = tmp_path / "executed"
    marker.unlink()
    new_user(monkeypatch, tmp_path / "victim")
    kspace, _ = undersampled(make_scan)
    np.save("fast.npy", kspace)
    test = make_scan("test", 3, 1)
    for command in (
        ["reconstruct", run, "fast.npy", "--out", "images"],
        ["evaluate", run, "--reference", test, "--out", "results"],
        ["export", run, "--out", "mine.onnx"],
    ):
        code, _, errors = run_cli(*command)
        assert code == 2
        assert "is code that you have not trained with on this machine, so that it is not run" in errors
    write_claim(run)
    assert run_cli("report", run)[0] == 0
    assert not marker.exists()
    Reconstructor.load(run, trust_code=True)
    assert marker.exists()
    marker.unlink()
    with pytest.raises(RunError, match="have not trained with"):  # trust is asked for each time
        Reconstructor.load(run)
    assert not marker.exists()


def test_code_that_the_user_knows_makes_no_other_code_run(make_scan: MakeScan) -> None:
    """A card that claims the hash, or the file, of code that the user has run before."""
    run = trained_with("mynet.py:Residual", make_scan)
    tensors, card = load_model(run / "model.safetensors")
    assert known(card.network_sha256, "Residual")
    assert not known(card.network_sha256, "cascades")
    assert not known("../" + card.network_sha256, "Residual")
    Path("theirs.py").write_text(EVIL)
    shutil.copy("theirs.py", run / "network.py")
    for reference, hashed in (
        ("theirs.py:Net", card.network_sha256),
        ("theirs.py:Residual", card.network_sha256),
        ("mynet.py:cascades", card.network_sha256),
        ("theirs.py:Net", sha256(EVIL.encode())),
        (f"{run}/network.py:Residual", card.network_sha256),
    ):
        config = card.config.model_copy(update={"network": reference})
        save_model(
            run / "model.safetensors", tensors, card.model_copy(update={"config": config, "network_sha256": hashed})
        )
        with pytest.raises(RunError):
            Reconstructor.load(run)
        if hashed == card.network_sha256:  # the copy is not what the card says
            with pytest.raises(RunError, match="is not the file that this run was trained with"):
                Reconstructor.load(run, trust_code=True)
    assert not Path("executed").exists()


def test_a_mask_of_somebody_elses_does_not_run_either(
    tmp_path: Path, make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    Path("theirs.py").write_text(
        "from pathlib import Path\nPath('executed').touch()\n"
        "from switchrecon.physics.mask_kinds import MaskKind, random_2d\nKIND = MaskKind(random_2d, 2)\n"
    )
    config = tiny_config("method=supervised", "mask.kind=theirs.py:KIND", "steps=1")
    run = train(config, [make_scan("full", 1)], [], Path("run"))
    assert Reconstructor.load(run).config.mask.kind == "theirs.py:KIND"
    marker, test = tmp_path / "executed", make_scan("test", 3, 1)
    marker.unlink()
    new_user(monkeypatch, tmp_path / "victim")
    with Path("theirs.py").open("a") as file:
        file.write("# as a stranger left it\n")
    for command in (
        ["reconstruct", run, test, "--undersample", "run", "--out", "images"],
        ["evaluate", run, "--reference", test, "--out", "results"],
    ):
        code, _, errors = run_cli(*command)
        assert code == 2
        assert "its mask 'theirs.py:KIND' is code that you have not trained with on this machine" in errors
    assert not marker.exists()
    code, _, errors = run_cli("evaluate", run, "--reference", test, "--out", "results", "--trust-code")
    assert code == 0, errors
    assert marker.exists()


def test_without_a_home_folder_the_process_still_knows(make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("file").resolve()))
    run = trained_with("mynet.py:Residual", make_scan)
    assert Reconstructor.load(run).config.network == "mynet.py:Residual"


def test_reading_what_is_said_of_a_network_runs_nothing() -> None:
    Path("theirs.py").write_text(EVIL)
    entry = find_network(tiny_config("network=theirs.py:Net"))
    assert "Net" in entry.architecture(tiny_config("network=theirs.py:Net"))
    assert not Path("executed").exists()
    assert torch.is_tensor(next(entry.build(tiny_config("network=theirs.py:Net"), False).parameters()))
    assert Path("executed").exists()
