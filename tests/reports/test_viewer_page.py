"""The viewer in a real browser: exact grey values, mouse, keys, links, and nothing asked for."""

import io
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from switchrecon.physics.fourier import fourier
from switchrecon.reports.evaluation import write_report
from switchrecon.reports.page import write_page
from switchrecon.reports.viewer.page import embed
from switchrecon.reports.viewer.server import Viewer
from switchrecon.reports.viewer.sources import find_sources
from switchrecon.reports.viewer.stacks import Layer, Letters, Stack
from tests.reports.browser import Browser, browser
from tests.reports.test_report import _evaluation as report_folder
from tests.reports.test_report import undrawn
from tests.reports.test_viewer import evaluation

__all__ = ["undrawn"]  # the fixture

BAR = 28  # pixels under the image
EVIL = "<img src=x onerror=\"document.title='ran'\"></script><script>document.title='ran'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def written(folder: Path, stacks: Sequence[Stack]) -> str:
    content = {"viewer": embed(stacks, 10**8), "remote": False, "title": "viewer"}
    return write_page(folder / "page.html", "viewer.html.j2", content).as_uri()


def stack_of(layers: dict[str, np.ndarray], **more: Any) -> Stack:
    first = next(iter(layers.values()))
    built = tuple(Layer(name, {"image": lambda p, images=images: images[p]}) for name, images in layers.items())
    return Stack("head", tuple(range(4, 4 + len(first))), first.shape[1:], built, **more)


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """Whole numbers from 0 to 250 on 6 x 8 pixels of 3 slices, so that grey values are known exactly."""
    random = np.random.default_rng(5)
    reference = random.integers(0, 250, (3, 6, 8)).astype(float)
    reference[:, 0, 0] = 250
    return {"reference": reference, "first": reference - 20, "second": reference[:, ::-1].copy()}


@pytest.fixture
def address(tmp_path: Path, images: dict[str, np.ndarray]) -> str:
    mask = np.zeros((6, 8), dtype=bool)
    mask[:, ::2] = True
    return written(tmp_path, [stack_of(images, truth=0, mask=lambda position: mask)])


def colours(page: Browser, panel: int, shape: tuple[int, int]) -> np.ndarray:
    """The colour in the middle of every pixel of the image in a panel, (H, W, 3)."""
    height, width = shape
    script = f"""(() => {{
      const canvas = document.querySelectorAll('.viewer-panels canvas')[{panel}], context = canvas.getContext('2d');
      const found = [];
      for (let row = 0; row < {height}; row++) for (let column = 0; column < {width}; column++) {{
        const x = Math.floor((column + 0.5) * canvas.width / {width});
        const y = Math.floor((row + 0.5) * (canvas.height - {BAR}) / {height});
        found.push([...context.getImageData(x, y, 1, 1).data].slice(0, 3));
      }}
      return found;
    }})()"""
    return np.array(page.run(script)).reshape(height, width, 3)


def text(page: Browser, selector: str) -> list[str]:
    found: list[str] = page.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")
    return found


def place(page: Browser, panel: int, row: float, column: float, shape: tuple[int, int]) -> tuple[float, float]:
    """Where a pixel of an image is in the window."""
    script = f"JSON.stringify(document.querySelectorAll('.viewer-panels canvas')[{panel}].getBoundingClientRect())"
    box = json.loads(page.run(script))
    y = box["y"] + (row + 0.5) * (box["height"] - BAR) / shape[0]
    return box["x"] + (column + 0.5) * box["width"] / shape[1], y


def test_grey_values_are_exact_in_one_window_and_nothing_is_asked_for(
    page: Browser, address: str, images: dict[str, np.ndarray]
) -> None:
    page.open(f"{address}#view&slice=6&low=0&high=255")
    for panel, name in enumerate(images):
        grey = colours(page, panel, (6, 8))
        np.testing.assert_array_equal(grey, np.repeat(images[name][2].clip(0)[..., None], 3, axis=-1))
    assert text(page, ".viewer-name") == list(images)
    page.follow("#view&slice=4&low=50&high=101")  # 51 values: five steps of grey each
    expected = (5 * (images["second"][0] - 50)).clip(0, 255)
    np.testing.assert_array_equal(colours(page, 2, (6, 8))[..., 0], expected)
    assert page.requests == [page.requests[0]]
    assert page.run("violations") == []
    assert page.errors == []
    assert "Research software, not a medical device" in text(page, ".viewer-mark")[0]


def test_keys_turn_slices_read_pixels_and_set_the_link(
    page: Browser, address: str, images: dict[str, np.ndarray]
) -> None:
    page.open(address)
    assert text(page, "output") == ["5 (2 of 3)"]
    page.key("End")
    page.key("ArrowDown")  # there is none behind the last
    assert text(page, "output") == ["6 (3 of 3)"]
    page.key("ArrowUp")
    page.key("ArrowRight", shift=True)  # from the middle, (3, 4)
    page.key("ArrowDown", shift=True)
    values = [f"{images[name][1, 4, 5]:g}".replace("-", "−") for name in images]
    assert text(page, ".viewer-value") == values
    said = text(page, "[role=status]")[0]
    assert "row 4, column 5" in said
    assert f"second: {values[2]}" in said
    page.until("location.hash.includes('at=4%2C5')")
    hash = page.run("location.hash")
    page.key("Home")
    page.key("3")
    page.open(address + hash)
    assert text(page, "output") == ["5 (2 of 3)"]
    assert text(page, ".viewer-value") == values
    labels = page.run("[...document.querySelectorAll('canvas')].map(e => [e.getAttribute('role'), e.tabIndex])")
    assert labels == [["img", 0]] * 3
    assert page.run("document.querySelector('canvas').getAttribute('aria-label')").startswith("reference, slice 5")


def test_mouse_reads_windows_zooms_and_pans_all_images_alike(
    page: Browser, address: str, images: dict[str, np.ndarray]
) -> None:
    page.open(f"{address}#view&slice=5")
    page.mouse("mouseMoved", *place(page, 1, 2, 6, (6, 8)))
    assert text(page, ".viewer-value") == [f"{images[name][1, 2, 6]:g}".replace("-", "−") for name in images]
    assert "row 2, column 6" in text(page, ".viewer-line")[0]
    assert "row" not in text(page, "[role=status]")[0]  # a moving pointer is not read out
    x, y = place(page, 0, 2, 3, (6, 8))
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=120)
    page.until("document.querySelector('output').textContent === '6 (3 of 3)'")
    window = "document.querySelector('canvas').getAttribute('aria-label')"
    before = page.run(window)
    page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    page.mouse("mouseMoved", x + 60, y, button="left", buttons=1)
    page.mouse("mouseReleased", x + 60, y, button="left")
    page.settled()
    assert page.run(window) != before
    labels = page.run("[...document.querySelectorAll('canvas')].map(e => e.getAttribute('aria-label').split(',')[2])")
    assert len(set(labels)) == 1  # one window for all
    page.key("r")
    assert page.run(window) == before
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300 * np.log(4), modifiers=2)
    page.mouse("mouseMoved", x + 1, y)
    page.until("location.hash.includes('zoom=4')")
    assert "at=2%2C3" in page.run("location.hash")  # the pixel under the pointer stays there
    zoomed = colours(page, 0, (1, 1)), colours(page, 1, (1, 1))
    page.mouse("mousePressed", x, y, button="middle", buttons=4, clickCount=1)
    page.mouse("mouseMoved", x + 200, y, button="middle", buttons=4)
    page.mouse("mouseReleased", x + 200, y, button="middle")
    assert not np.array_equal(zoomed[0], colours(page, 0, (1, 1)))
    assert not np.array_equal(zoomed[1], colours(page, 1, (1, 1)))
    assert page.errors == []


def test_flicker_and_wipe_show_two_methods_in_one_place(
    page: Browser, address: str, images: dict[str, np.ndarray]
) -> None:
    def grey(name: str) -> np.ndarray:
        return images[name][0].clip(0)

    page.open(f"{address}#view&slice=4&low=0&high=255&layout=wipe&a=1&b=2&wipe=0.5")
    shown = colours(page, 0, (6, 8))[..., 0]
    np.testing.assert_array_equal(shown[2:, :4], grey("first")[2:, :4])
    np.testing.assert_array_equal(shown[2:, 4:], grey("second")[2:, 4:])
    assert text(page, ".viewer-name") == ["first | second"]
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.open(f"{address}#view&slice=4&low=0&high=255&layout=flicker&a=1&b=2")
    np.testing.assert_array_equal(colours(page, 0, (6, 8))[..., 0], grey("first"))
    assert page.run("document.querySelector('[data-do=play]').getAttribute('aria-pressed')") == "false"
    page.run("document.querySelector('canvas').focus()")
    page.key("x")
    np.testing.assert_array_equal(colours(page, 0, (6, 8))[..., 0], grey("second"))
    page.key(" ")  # it flickers when it is asked to
    page.until("document.querySelector('.viewer-name').textContent === 'first'")
    page.until("document.querySelector('.viewer-name').textContent === 'second'")
    page.call("Emulation.setEmulatedMedia", features=[])


def test_errors_and_differences_are_signed_scaled_and_numbered(page: Browser, address: str) -> None:
    page.open(f"{address}#view&slice=4&show=difference&at=1,1&low=-20&high=20")
    assert text(page, ".viewer-name") == ["first − reference", "second − reference"]
    assert text(page, ".viewer-value")[0] == "−20"
    assert colours(page, 0, (6, 8))[3, 3].tolist() == [5, 80, 200]  # the map's lower end
    page.follow("#view&slice=4&show=error&at=1,1")
    assert text(page, ".viewer-value")[0] == "0.08"  # 20 of 250
    page.follow("#view&slice=4&show=difference&a=1&at=1,1")
    assert text(page, ".viewer-name")[0] == "reference − first"
    assert text(page, ".viewer-value")[0] == "20"


def test_maps_have_their_scale_and_numbers(page: Browser, tmp_path: Path) -> None:
    image, invented = np.full((1, 4, 5), 200.0), np.full((1, 4, 5), 10.0)
    planes = {"image": lambda p: image[p], "invented": lambda p: invented[p]}
    layers = (Layer("joint", planes), Layer("other", {"image": planes["image"]}))
    page.open(written(tmp_path, [Stack("head", (0,), (4, 5), layers)]) + "#view&at=0,0")
    page.key("8")  # keys need no focus where the viewer is the page
    assert text(page, ".viewer-name") == ["joint: invented"]
    assert text(page, ".viewer-value") == ["10"]
    assert "window 0 to 20" in text(page, "[role=status]")[0]  # 10 % of the maximum
    assert colours(page, 0, (4, 5))[3, 3].tolist() == pytest.approx([185, 60, 80], abs=2)  # the middle of the map
    page.key("w")
    assert text(page, ".viewer-value") == ["10 | not a number"]


@pytest.mark.parametrize("shape", [(6, 8), (7, 15), (1, 5)])
def test_kspace_is_that_of_the_image(page: Browser, tmp_path: Path, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(3).integers(0, 250, shape).astype(float)
    kspace = fourier(torch.from_numpy(image.astype(np.complex64))).numpy()
    expected = np.log10(np.abs(kspace) / np.abs(kspace).max())
    page.open(written(tmp_path, [stack_of({"x": image[None]})]))
    for row, column in ((0, 2), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 2)):
        page.follow(f"#view&show=kspace&at={row},{column}")
        assert float(text(page, ".viewer-value")[0].replace("−", "-")) == pytest.approx(expected[row, column], abs=2e-4)
        page.follow(f"#view&show=kspace-phase&at={row},{column}")
        angle = float(text(page, ".viewer-value")[0].replace("−", "-").removesuffix(" rad"))
        assert np.exp(1j * angle) == pytest.approx(np.exp(1j * np.angle(kspace[row, column])), abs=2e-3)


def test_measured_samples_are_coloured(page: Browser, address: str) -> None:
    page.open(address)
    page.follow("#view&slice=5&show=kspace&low=-6&high=-5")  # all values are above: the brightest colour
    tinted = colours(page, 2, (6, 8))
    assert {tuple(c) for c in tinted[:, ::2].reshape(-1, 3)} == {(115, 230, 255)}
    assert {tuple(c) for c in tinted[:, 1::2].reshape(-1, 3)} == {(255, 158, 51)}
    assert (colours(page, 0, (6, 8)) == 255).all()  # all of the reference is known
    page.follow("#view&slice=5&show=mask&at=0,1")
    assert text(page, ".viewer-value") == ["not measured"]
    np.testing.assert_array_equal(colours(page, 0, (6, 8))[0, :, 0], [255, 0] * 4)


def test_hostile_names_stay_text(page: Browser, tmp_path: Path) -> None:
    stack = stack_of({EVIL: np.ones((1, 4, 4)), f"2{EVIL}": np.zeros((1, 4, 4))}, notes=(EVIL,))
    page.open(written(tmp_path, [stack, Stack(EVIL, (0,), (4, 4), stack.layers)]) + "#view&show=difference")
    assert page.run("document.title") == "viewer"
    assert page.run("document.querySelectorAll('img, script').length") == 2  # the data and the viewer itself
    assert EVIL in text(page, ".viewer-notes")[0]
    assert EVIL in text(page, "option")
    assert page.run("violations") == []
    page.open(written(tmp_path, [stack]) + "#view&" + "show=<b>&slice=1e99&zoom=-1&low=9&high=1&at=x&a=77&layout=evil")
    assert page.run("document.getElementById('viewer').dataset.state") == "ready"
    assert page.errors == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (96, 47)])
def test_odd_shapes_nan_letters_and_pixels_of_other_proportions(
    page: Browser, tmp_path: Path, height: int, width: int
) -> None:
    image = np.full((1, height, width), np.nan)
    stack = stack_of({"x": image}, spacing=(1.0, 2.0), letters=Letters("R", "L", "A", "P"))
    page.open(written(tmp_path, [stack]) + "#view&at=0,0&zoom=1")
    assert text(page, ".viewer-value") == ["not a number"]
    size = page.run("(c => [c.width, c.height])(document.querySelector('canvas'))")
    assert size[0] / (size[1] - BAR) == pytest.approx(2 * width / height, rel=0.02)
    shown = colours(page, 0, (7, 7))
    assert shown[2, 2].tolist() == [255, 0, 255]
    assert "left on the screen is R" in text(page, ".viewer-notes")[0]


def test_a_saved_picture_has_the_mark_and_the_bar(page: Browser, address: str, tmp_path: Path) -> None:
    page.open(address)
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.run("document.querySelector('[data-do=save]').click()")
    target = tmp_path / "switchrecon-view.png"
    end = 400
    while not target.exists() and (end := end - 1):
        page.run("new Promise(done => setTimeout(done, 20))")
    picture = np.asarray(Image.open(io.BytesIO(target.read_bytes())).convert("RGB")).astype(int)
    assert (picture[4:24] == (255, 214, 153)).all(-1).any()  # the mark's colour, over the images
    assert picture.shape[1] > 900
    assert page.run("violations") == []


def test_the_served_page_shows_whole_evaluations(page: Browser, tmp_path: Path) -> None:
    with Viewer(find_sources([evaluation(tmp_path)], names=True)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            page.open(server.address + "#view&scan=1&slice=11&at=2,3")
            assert "token" not in page.run("location.href")
            with np.load(tmp_path / "images.npz") as stored:
                expected = stored["images"][1, 4, 2, 3].astype(float) * 500
            assert float(text(page, ".viewer-value")[2]) == pytest.approx(expected, rel=1e-4)
            assert all(url.startswith(f"http://127.0.0.1:{server.server_port}/") for url in page.requests)
            (tmp_path / "images.npz").unlink()
            choose = "s => { s.value = 0; s.dispatchEvent(new Event('input')); }"
            page.run(f"({choose})(document.querySelector('[data-set=scan]'))")
            page.until("document.getElementById('viewer').dataset.state === 'failed'")
            assert "images.npz" in text(page, ".viewer-status")[0]
        finally:
            server.shutdown()
            thread.join()
    assert page.run("violations") == []


@pytest.mark.usefixtures("undrawn")
def test_a_report_shows_the_viewer_on_screens_and_pictures_on_paper(page: Browser, tmp_path: Path) -> None:
    evaluation(tmp_path)
    report_folder(tmp_path, ["zero-filled", "joint"], examples=1)
    page.open(write_report(tmp_path).as_uri())
    assert page.run("document.querySelectorAll('.viewer-panels canvas').length") == 3
    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert page.run(shown.format(".viewer-still")) == "none"
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run(shown.format(".viewer-still")) == "block"
    assert page.run(shown.format(".viewer")) == "none"
    page.call("Emulation.setEmulatedMedia", media="")
    assert all(url.startswith("data:") for url in page.requests[1:])
    assert page.run("violations") == []
    page.run("document.activeElement.blur()")
    x, y = place(page, 0, 2, 3, (6, 8))
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=100)  # the page scrolls, the slice stays
    page.until("scrollY > 0")
    assert text(page, "output") == ["11 (2 of 3)"]
    old = page.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream;")
    page.open((tmp_path / "report.html").as_uri())
    page.call("Page.removeScriptToEvaluateOnNewDocument", **old)
    assert "cannot unpack" in text(page, ".viewer-line")[0]
    assert page.run(shown.format(".viewer-still")) == "block"  # an old browser shows the pictures
