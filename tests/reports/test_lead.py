"""The first screen of a page: what was done, how good, an image, and what to do next; names explained, places to go."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from switchrecon.evaluation.evaluate import evaluate
from switchrecon.methods.guide import ADVICE, SUFFIXES, explained
from switchrecon.methods.methods import METHODS
from switchrecon.reports.evaluation import write_report
from switchrecon.reports.lead import place
from switchrecon.reports.page import with_contents
from switchrecon.runs.scores import Score, Scores
from switchrecon.training.train import train
from switchrecon.training.watch import Sparing
from tests.conftest import tiny_config

RunCli = Callable[..., tuple[int, str, str]]
MakeScan = Callable[..., Path]
Trained = Callable[..., Path]


def lead_of(page: str) -> str:
    """The part of a page before its list of contents."""
    return page[: page.index('<nav class="contents"')]


def links_work(page: str) -> bool:
    targets = re.findall(r'href="#([^"]+)"', page)
    return len(targets) > 2 and all(page.count(f'id="{target}"') == 1 for target in targets)


def test_titles_get_places_and_a_list_where_there_are_several() -> None:
    page = with_contents("<!--contents--><h2>A</h2><h2>B &lt;i&gt;</h2><h2>C</h2>")
    assert '<li><a href="#part-2">B &lt;i&gt;</a></li>' in page
    assert '<h2 id="part-3">C</h2>' in page
    assert with_contents("<!--contents--><h2>A</h2>") == '<h2 id="part-1">A</h2>'


def test_folders_on_a_page_do_not_tell_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place(tmp_path / "runs" / "first") == "runs/first"
    assert place(Path("runs/first")) == "runs/first"
    assert place(tmp_path.parent / "elsewhere") == "elsewhere"


def test_a_run_says_how_it_became_better(make_scan: MakeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Sparing, "allows", lambda self, *given: True)
    config = tiny_config("method=joint", "cascades=1", "unet_width=2", "steps=3")
    run = train(config, make_scan("full", 1), make_scan("sub", 2), tmp_path / "run")
    page = write_report(run).read_text()
    lead = lead_of(page)
    assert re.search(r"joint: 3 of 3 steps in \d+ s\.", lead)
    assert "After 3 steps: PSNR " in lead
    assert "masks were new to it, the subjects were not" in lead
    assert lead.count("data:image/png;base64,") == 1
    for command in (
        "switchrecon evaluate run --reference SCANS --out run-evaluation",
        "switchrecon reconstruct run SCAN --out run-images",
        "switchrecon train --out run --resume --set steps=6 …",
    ):
        assert command in lead
    for part in (
        "Score over time",
        "Pictures over time",
        "step 2",
        "3 fully sampled slices of 1 subject",
        "generator ",
    ):
        assert part in page
    assert ">n/a<" not in page
    assert links_work(page)
    Scores(run, 3).add(Score(4, 1.0, None, None, -2.0))
    assert "After 4 steps: an error 2.0 dB larger than zero filling" in write_report(run).read_text()


def test_a_run_is_viewed_by_the_pictures_that_it_has_kept(
    make_scan: MakeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    config = tiny_config("method=joint", "cascades=1", "unet_width=2", "steps=2")
    run = train(config, make_scan("full", 1), make_scan("sub", 2), tmp_path / "run")
    assert not (run / "progress").exists()  # so short a run has no time for pictures
    code, _, err = run_cli("view", run, "--out", tmp_path / "a.html")
    assert (code, "a run holds no images" in err) == (2, True)
    monkeypatch.setattr(Sparing, "allows", lambda self, *given: True)
    shutil.rmtree(run)
    train(config, make_scan("full", 1), make_scan("sub", 2), run)
    code, out, err = run_cli("view", run, "--out", tmp_path / "a.html")
    assert (code, "2 slices" in out) == (0, True), err


def test_an_evaluation_answers_in_the_first_screen(
    trained: Trained, make_scan: MakeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [trained("switchable"), trained("simulated")]
    references = [make_scan("test", subject) for subject in (7, 8)]
    evaluate(runs, references, tmp_path / "out")
    page = write_report(tmp_path / "out").read_text()
    lead = lead_of(page)
    assert "6 slices of 2 scans and 2 subjects that no run has learned from were undersampled (random-2d, " in lead
    assert "switchable: " in lead
    assert " for zero filling (" in lead
    assert lead.count("data:image/png;base64,") == 1
    assert "switchrecon view out" in lead
    assert "<dt>/ensemble</dt><dd>the mean of G(x) and x − H(x)" in page
    assert "<dt>/hard</dt>" in page
    assert links_work(page)
    for file in (tmp_path / "out").rglob("*"):
        assert b"subject7" not in (file.read_bytes() if file.is_file() else b""), file
    evaluate(runs, references, tmp_path / "out", overwrite=True, names=True)
    named = write_report(tmp_path / "out").read_text()
    assert "scan-001 (subject7.npy)" in named
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["names"]["scan-002"] == "subject8.npy"


def test_names_in_tables_are_explained() -> None:
    assert ADVICE.keys() == METHODS.keys()
    found = dict(explained(["zero-filled", "joint", "joint/hard", "iscl/ensemble-soft", "mine.py:OWN/hard"]))
    assert list(found) == ["zero-filled", "joint", "/hard", "iscl", "/ensemble", "/soft"]
    assert found["/hard"] == SUFFIXES["hard"]


def test_methods_are_listed_with_what_they_need(run_cli: RunCli) -> None:
    code, out, _ = run_cli("methods")
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    for name, advice in ADVICE.items():
        [place] = [number for number, line in enumerate(lines) if line.split()[:1] == [name]]
        for text in (advice.learns_from, advice.needs, advice.speed):
            assert text in lines[place]
        assert advice.when.startswith(lines[place + 1].strip())
