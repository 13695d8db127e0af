"""A report in a real browser, with hostile text in every field: it asks for nothing and runs nothing."""

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchrecon.reports.evaluation import write_report
from tests.reports.test_report import _change, _evaluation, _facts, _metrics, undrawn

__all__ = ["undrawn"]  # the fixture

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine and what it has been asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def shown(page: Path, profile: Path) -> str:
    """The page as the browser has it after all that would run has run."""
    if BROWSER is None:
        pytest.skip("no Chromium here (Debian: chromium)")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [BROWSER, *flags, f"--user-data-dir={profile}", "--virtual-time-budget=1500", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"Chromium does not start here: {done.stderr.strip()[-200:]}")
    return done.stdout


@pytest.mark.usefixtures("undrawn")
def test_a_hostile_report_asks_for_nothing_and_runs_nothing(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    address, asked = listener
    script = f"<script>document.title='ran';fetch('{address}/script')</script>"
    tags = [
        f"<img src='{address}/image' onerror=\"document.title='ran'\">",
        f"<link rel=stylesheet href='{address}/style'><style>@import '{address}/import'</style>",
        f"<iframe src='{address}/frame'></iframe><meta http-equiv=refresh content='0;url={address}/refresh'>",
        f"</pre></style></title><svg onload=\"fetch('{address}/svg')\">",
    ]
    hostile = script + "".join(tags)
    control = tmp_path / "control.html"
    control.write_text(f"<title>plain</title>{script}{tags[0]}")
    assert "<title>ran</title>" in shown(control, tmp_path / "profile")
    assert {"/script", "/image"} <= set(asked)  # the browser does run and ask, where it may
    asked.clear()

    folder = tmp_path / "evaluation"
    folder.mkdir()
    methods = ["zero-filled", hostile]
    _evaluation(folder, methods, examples=1)
    facts = _facts(methods, 1)
    facts["runs"][0] |= {"name": hostile, "config": {hostile: hostile}, "parameters": {hostile: 1}}
    facts["examples"][0]["scan"] = hostile
    facts["pictures"][0]["caption"] = hostile
    listed = {key: [hostile] for key in ("summary", "reduced", "data")}
    plain = dict.fromkeys(("created", "machine"), hostile)
    _change(folder, **facts | listed | plain | {"title": "quiet", "versions": {hostile: hostile}})
    (folder / "metrics.json").write_text(json.dumps(_metrics(methods) | {"convention": hostile}))
    page = shown(write_report(folder), tmp_path / "profile")
    assert "<title>quiet</title>" in page
    assert "&lt;script&gt;" in page
    assert asked == []
