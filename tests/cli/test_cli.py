"""The command line as a user meets it: results, exit codes, one clear sentence for a mistake."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import switchrecon
from switchrecon.runs.log import read_log
from switchrecon.runs.progress import TrainingProgress
from switchrecon.training.train import train
from tests.conftest import TRAINED, tiny_config

MakeScan = Callable[..., Path]
SMALL = ("method=switchable", "width=2", "residual_blocks=1", "extractor_depth=3", "steps=2", "mask.kind=random-1d")
TINY = [f"--set={s}" for s in SMALL]


def test_train_reconstruct_evaluate_report(
    run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path, make_scan: MakeScan
) -> None:
    full, sub, test = make_scan("full", 1), make_scan("sub", 2), make_scan("test", 3)
    run = tmp_path / "run"
    code, out, err = run_cli("train", "--method", "switchable", "--full", full, "--sub", sub, "--out", run, *TINY)
    assert code in TRAINED, err
    assert out.splitlines()[-1] == f"run: {run}"
    code, out, err = run_cli("evaluate", run, "--reference", test, "--out", tmp_path / "evaluation")
    assert code == 0, err
    assert "zero-filled" in out
    assert (tmp_path / "evaluation" / "report.html").is_file()
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert set(metrics["methods"]["switchable/hard"]) >= {"psnr", "ssim", "nmse"}
    code, out, err = run_cli("reconstruct", run, test, "--out", tmp_path / "images", "--undersample", "run")
    assert code == 0, err
    assert np.load(tmp_path / "images" / test.name).shape == (3, 64, 64)
    code, out, err = run_cli("report", run)
    assert (code, out) == (0, f"report: {run / 'report.html'}\n"), err


def test_pictures(run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, _ = run_cli("masks", "--out", tmp_path / "masks.png", "--matrix", 64, "--set", "mask.kind=random-1d")
    assert code == 0
    assert "nominal acceleration 4, measured" in out
    code, out, err = run_cli(
        "phantom", "--out", tmp_path / "p.png", "--matrix", 64, "--slices", 1, "--save", tmp_path / "heads"
    )
    assert code == 0, err
    assert len(list((tmp_path / "heads").glob("phantom-0000-*.npy"))) == 4
    for name in ("masks.png", "p.png"):
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_mistakes_are_one_sentence_and_exit_code_2(
    run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path, make_scan: MakeScan, trained: Callable[..., Path]
) -> None:
    full, sub = make_scan("full", 1), make_scan("sub", 2)
    train = ["train", "--full", full, "--sub", sub, "--out", tmp_path / "run"]
    cases: list[tuple[list[object], str]] = [
        ([*train, "--method", "switchabel"], "did you mean 'switchable'"),
        ([*train, "--set", "widht=3"], "did you mean 'width'"),
        ([*train, "spilled.npy"], "unexpected argument 'spilled.npy'; if you gave a pattern, quote it"),
        ([*train, "--config", tmp_path / "absent.yaml"], "no such configuration file"),
        (["train", "--full", full, "--sub", tmp_path / "no", "--out", tmp_path / "run"], "no such file or folder"),
        (["reconstruct", tmp_path / "no", full, "--out", tmp_path / "o"], "no such run folder"),
        (["reconstruct", trained(), full, "--out", tmp_path / "o"], "holds fully sampled k-space"),
        (["evaluate", full, "--reference", full, "--out", tmp_path / "o"], "expected a run folder; if you gave"),
        (["evaluate", trained(), "--reference", sub, "--out", tmp_path / "o", "--convention", "x"], "convention"),
        (["report", tmp_path], "evaluation.json"),
        (["train", "--full", full, "--sub", sub, "--out", full / "run", *TINY], "subject1.npy"),
        (["masks", "--out", tmp_path], str(tmp_path)),
        (["phantom", "--matrix", "33", "--out", tmp_path / "p.png"], "33"),
        (["masks", "--set", "mask.acceleration=0"], "greater than or equal to 1"),
    ]
    for arguments, message in cases:
        code, _, err = run_cli(*arguments)
        assert code == 2, arguments
        assert message in err, arguments
        assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "o").exists()


def test_some_of_several_scans_failing_is_exit_code_3(
    run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path, make_scan: MakeScan, trained: Callable[..., Path]
) -> None:
    mask = np.random.RandomState(0).uniform(size=(64, 64)) < 0.4
    for subject in range(3, 6):
        make_scan("scans", subject, mask=mask)
    make_scan("scans", 6)
    code, _, err = run_cli("reconstruct", trained(), tmp_path / "scans", "--out", tmp_path / "o")
    assert code == 3
    assert "3 of 4 scans reconstructed" in err
    assert "failed: " in err
    assert len(list((tmp_path / "o").glob("subject?.npy"))) == 3


def test_debug_shows_the_traceback(run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"expected .*evaluation.json"):
        run_cli("report", tmp_path, "--debug")


def test_an_error_of_our_own_is_one_line_too(
    run_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(folder: Path) -> Path:
        raise ZeroDivisionError("of our own")

    monkeypatch.setattr("switchrecon.reports.evaluation.write_report", broken)
    code, _, err = run_cli("report", tmp_path)
    assert (code, err) == (1, "error: unexpected ZeroDivisionError: of our own (add --debug for the traceback)\n")


def test_help_needs_no_torch_and_names_every_command() -> None:
    script = (
        "import sys; sys.argv = ['switchrecon', '--help']\n"
        "from switchrecon.cli.app import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'matplotlib' in sys.modules)\n"
    )
    # A plain, wide terminal, so that nothing wraps.
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert found.stdout.splitlines()[-1] == "False False"
    for command in ("demo", "train", "reconstruct", "evaluate", "report", "masks", "phantom"):
        assert f" {command} " in found.stdout


def test_version(run_cli: Callable[..., tuple[int, str, str]]) -> None:
    import switchrecon

    assert run_cli("--version")[:2] == (0, f"{switchrecon.__version__}\n")


def test_progress_without_a_terminal_is_plain_lines(messages: list[str]) -> None:
    with TrainingProgress("switchable", 0, 4) as progress:
        progress.losses = {"cycle": 0.25}
        progress.quality = "held-out +1.0 dB"
        progress.advance(2)
        assert messages == []  # not a minute yet
        progress.said -= 61
        progress.advance(3)
    [line] = messages
    assert line == "switchable: step 3 of 4; 1 s left; held-out +1.0 dB; cycle 0.25"


def test_messages_go_to_the_streams_that_quiet_and_verbose_choose(
    run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path, make_scan: MakeScan
) -> None:
    full, sub = make_scan("full", 1), make_scan("sub", 2)

    def said(name: str, *flags: str, before: bool = False) -> tuple[str, str]:
        words = ["train", "--full", full, "--sub", sub, "--out", tmp_path / name, *TINY, "--set", "calibrate=[noise]"]
        code, out, err = run_cli(*flags, *words) if before else run_cli(*words, *flags)
        assert code in TRAINED, err
        others = ("warning: the run is worse than zero filling", "computing with ")
        return out, "".join(line for line in err.splitlines(True) if not line.startswith(others))

    out, err = said("plain")
    warning = "warning: calibrate does nothing here, with method 'switchable'"
    assert out.splitlines() == [
        "fully sampled: 3 slices of 1 subject",
        *[line for line in out.splitlines() if line.startswith("undersampled: 3 slices of 1 subject, acceleration")],
        f"run: {tmp_path / 'plain'}",
    ]
    assert err.startswith(f"{warning}\nswitchable: step 2 of 2; in 1 s; ")
    assert err.splitlines()[-1] == (
        f"next: switchrecon reconstruct {tmp_path / 'plain'} {sub} --out {tmp_path / 'plain-images'} --undersample run"
    )
    assert said("quiet", "--quiet") == (f"run: {tmp_path / 'quiet'}\n", f"{warning}\n")
    assert said("quiet2", "--quiet", before=True) == (f"run: {tmp_path / 'quiet2'}\n", f"{warning}\n")
    out, _ = said("verbose", "--verbose")
    assert f"reading {full}: NumPy" in out
    assert "computing on CPU, convolutions in float32" in out
    assert not logging.getLogger("switchrecon").handlers


def test_a_program_that_uses_the_package_gets_logging_alone(
    tmp_path: Path,
    make_scan: MakeScan,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "switchrecon")
    train(tiny_config(), [make_scan("full", 1)], [make_scan("sub", 2)], tmp_path / "run")
    assert capsys.readouterr() == ("", "")
    assert "fully sampled: 3 slices of 1 subject" in caplog.messages
    for file in Path(switchrecon.__file__).parent.rglob("*.py"):
        printing = re.findall(r"(?<![\w.])print\(", file.read_text())
        assert not printing or file.parent.name == "cli", file


def test_tensorboard_events_are_written_beside_the_log(
    run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path, make_scan: MakeScan
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (pip install 'switchrecon[tensorboard]')")
    run = tmp_path / "run"
    paths = ["--full", make_scan("full", 1), "--sub", make_scan("sub", 2), "--out", run]
    assert run_cli("train", *paths, *TINY, "--set", "picture_every=1")[0] in TRAINED
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    logged = [entry.losses["cycle"] for entry in read_log(run)]
    assert [e.value for e in events.Scalars("losses/cycle")] == pytest.approx(logged, rel=1e-6)
    assert events.Tags()["images"] == ["x", "G(x)", "y"]
