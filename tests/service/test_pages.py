"""What the pages on the service show."""

import runpy
from pathlib import Path

import pytest

from switchrecon.service.server import Server
from tests.pages import DOCS, code_of
from tests.scans.test_mrd import generate

PAGES = [DOCS / "how-to" / f"{name}.md" for name in ("fire-openrecon", "gadgetron", "pacs", "department")]


def test_the_client_of_the_page_gets_its_images(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(tmp_path / "scan.h5", "-m", "64", "-c", "1", "-a", "2", "-w", "8")
    code = code_of("how-to/gadgetron.md")["client.py"]
    script = tmp_path / "client.py"
    script.write_text(code.replace("9002", str(server.port)).replace('"brain"', '"small"'))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script))
    warned, *images = capsys.readouterr().out.splitlines()
    assert warned.startswith("WRN the scan has measured lines at acceleration 2.00")
    assert images == [f"{number} 0 (1, 1, 64, 64)" for number in (1, 2)] * 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_says_that_it_is_not_for_diagnosis_and_what_is_refused(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "Research software, not a medical device" in text
    assert "diagnosis" in text
    assert "refuse" in text
