"""The page about one reconstruction."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from switchrecon.reconstruction.files import Made
from switchrecon.reports.scan import write_scan_page
from switchrecon.scans.maps import Map

from ..conftest import blob_images

RunCli = Callable[..., tuple[int, str, str]]


MASK = np.ones((2, 64, 64), dtype=bool)


def made(scale: float = 1) -> tuple[Made, np.ndarray]:
    """A reconstruction and its truth."""
    image = scale * blob_images(1, slices=2)
    maps = [Map("invented", 0.1 * image, "what was not measured"), Map("doubt", 0.2 * np.abs(image), "half width")]
    return Made(image, maps, ["invented 10 % of the image", "a claim"], None, None), 0.9 * np.abs(image)


def test_a_page_has_the_maps_what_was_said_and_the_error_where_there_is_a_truth(tmp_path: Path) -> None:
    for known in (True, False):
        found, truth = made()
        text = write_scan_page(found, truth if known else None, MASK, tmp_path / f"{known}.html").read_text()
        for said in ("Research software", "a claim", "invented: what was not measured", "doubt: half width"):
            assert said in text
        assert ("error: the magnitude" in text) == known
        assert text.count('<figure class="plot">') == 2  # a slice each
        assert "% of the 99th percentile" in text
        assert ('"name": "reference"' in text) == known
        assert "http" not in text.replace("http-equiv", "")


def test_a_page_is_the_same_at_any_scale(tmp_path: Path) -> None:
    pictures = [
        re.findall(
            r'src="(data:image/png[^"]+)"', write_scan_page(*made(scale), MASK, tmp_path / "page.html").read_text()
        )
        for scale in (1, 1024)
    ]
    assert len(pictures[0]) == 2
    assert pictures[0] == pictures[1]


def test_the_command_line_writes_it_beside_the_image(
    trained: Callable[..., Path], make_scan: Callable[..., Path], tmp_path: Path, run_cli: RunCli
) -> None:
    scan = make_scan("scans", 5, 1)
    command = ("reconstruct", trained(), scan, "--undersample", "run", "--out", tmp_path / "out", "--report")
    assert run_cli(*command)[0] == 0
    page = (tmp_path / "out" / "subject5.report.html").read_text()
    assert "error: the magnitude" in page
    assert "subject5" not in page
    code, _, err = run_cli(*command, "--no-maps", "--overwrite")
    assert (code, "--no-maps and --report: choose one" in err) == (2, True)
