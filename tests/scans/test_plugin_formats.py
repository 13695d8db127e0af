"""Formats of other packages: the example of docs/how-to/format.md as an installed package, and broken ones."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.errors import ConfigError, DataError
from switchrecon.physics.fourier import fourier
from switchrecon.scans import formats as table
from switchrecon.scans.files import find_files, read_scan, recognise
from switchrecon.scans.formats import Format, formats, register
from tests.conftest import TRAINED, blob_images

RunCli = Callable[..., tuple[int, str, str]]
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "format.md").read_text(encoding="utf-8")
TINY = (
    "--set",
    "method=switchable",
    "--set",
    "width=2",
    "--set",
    "residual_blocks=1",
    "--set",
    "extractor_depth=3",
    "--set",
    "steps=2",
)
LINES = np.arange(64) % 3 == 0
LINES[28:36] = True


def block(language: str) -> str:
    """The page's first block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def install(folder: Path, name: str, code: str, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay a package where Python finds it, as pip would."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[switchrecon.formats]\n{entry}\n")
    if str(folder) not in sys.path:
        monkeypatch.syspath_prepend(folder)
    table._installed.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for packages; afterwards no format of theirs is left."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(table, "_registered", [])
    yield folder
    monkeypatch.undo()
    table._installed.cache_clear()
    sys.modules.pop("lab_format", None)


def lab(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the page's example."""
    entry = re.search(r"^lab = .*$", block("toml").replace('"', ""), re.MULTILINE)
    assert entry is not None
    install(site, "lab_format", block("python"), entry[0], monkeypatch)


def write_lab(path: Path, kspace: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    sizes = np.array(kspace.shape, "<u4").tobytes()
    path.write_bytes(b"LABKSP01" + sizes + kspace.astype("<c8").tobytes())
    return path


def kspace_of(subject: int) -> np.ndarray:
    return np.asarray(fourier(torch.from_numpy(blob_images(subject, 2))).numpy())


def test_the_example_of_the_page_is_inspected_trained_and_reconstructed(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    lab(site, monkeypatch)
    full, sub = (
        write_lab(tmp_path / "full/a.lab", kspace_of(1)),
        write_lab(tmp_path / "sub/b.lab", kspace_of(2) * LINES),
    )
    code, out, err = run_cli("inspect", full)
    assert (code, err) == (0, f"next: switchrecon view {full}\n")
    assert "LAB raw data, k-space" in out
    code, _, err = run_cli("train", "--full", full.parent, "--sub", sub.parent, "--out", tmp_path / "run", *TINY)
    assert code in TRAINED, err
    code, out, err = run_cli("reconstruct", tmp_path / "run", sub, "--out", tmp_path / "out")
    assert code == 0, err
    content = (tmp_path / "out" / "b.lab").read_bytes()
    assert content[:8] == b"LABIMG01"
    assert np.isfinite(np.frombuffer(content[20:], "<f4").reshape(2, 64, 64)).all()
    assert run_cli("convert", full, tmp_path / "c.npy")[0] == 0
    assert run_cli("convert", tmp_path / "c.npy", tmp_path / "d.lab")[0] == 0
    np.testing.assert_array_equal(read_scan(tmp_path / "d.lab").kspace, read_scan(full).kspace)
    full.write_bytes(full.read_bytes()[:-8])
    assert "holds 8191 samples; expected 2x64x64" in run_cli("inspect", full)[2]


IMPORT = "from switchrecon.scans.formats import Format"
BROKEN = {
    "import nothing_of_this_name": r"ModuleNotFoundError: No module named 'nothing_of_this_name'",
    "FORMAT = 7": r"found a int; expected a switchrecon\.scans\.formats\.Format",
    f"{IMPORT}\nFORMAT = Format('BART', read=print)": "of this name or option already",
    f"{IMPORT}\nFORMAT = Format('x')": "neither reads nor writes",
}


def test_broken_plugins_are_one_sentence_each_and_others_work(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number, code in enumerate(BROKEN):
        install(site, f"broken{number}", code, f"broken{number} = broken{number}:FORMAT", monkeypatch)
    lab(site, monkeypatch)
    np.save(tmp_path / "a.npy", kspace_of(1))
    assert recognise(tmp_path / "a.npy").name == "NumPy"
    assert recognise(write_lab(tmp_path / "x" / "b", kspace_of(1))).name == "LAB raw data"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(BROKEN)
    for number, (message, expected) in enumerate(zip(said, BROKEN.values(), strict=True)):
        assert message.startswith(f"the file format 'broken{number}' of the package 'broken{number}' ")
        assert re.search(expected, message)
        assert "\n" not in message


def test_a_sniff_that_fails_and_a_reader_that_fails(
    tmp_path: Path, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bool:
        raise KeyError("lost")

    register(Format("Fails to look", sniff=fail, read=fail))  # type: ignore[arg-type]
    register(Format("Fails to read", sniff=lambda path: path.suffix == ".bad", read=fail))  # type: ignore[arg-type]
    (tmp_path / "a.bad").write_bytes(b"12345")
    with pytest.raises(DataError, match=r"a\.bad: not readable as Fails to read \(KeyError: 'lost'\)"):
        read_scan(tmp_path / "a.bad")
    assert "'Fails to look' failed to look at it (KeyError: 'lost')" in caplog.text


def test_a_format_from_python(tmp_path: Path, site: Path) -> None:
    from switchrecon.scans.scan import kspace_scan

    own = Format(
        "Text numbers",
        suffixes=(".txt",),
        sniff=lambda path: path.suffix == ".txt",
        read=lambda path, options: kspace_scan(path, "someone", np.loadtxt(path, dtype=complex)[None]),
    )
    register(own)
    with pytest.raises(ConfigError, match="of this name or option already"):
        register(own)
    np.savetxt(tmp_path / "a.txt", kspace_of(1)[0])
    assert find_files([tmp_path]) == [tmp_path / "a.txt"]
    np.testing.assert_allclose(read_scan(tmp_path / "a.txt").kspace[0, 0], kspace_of(1)[0], atol=1e-5)
    assert own in formats()


def test_the_help_loads_no_plugin(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "loud", "raise SystemExit('a plugin was loaded')", "loud = loud:FORMAT", monkeypatch)
    code = f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv = ['switchrecon', 'reconstruct', '--help']; "
    code += "from switchrecon.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--format" in done.stdout
