"""The viewer without a browser: planes, stacks, sources, the page, and the server on this machine."""

import base64
import hashlib
import http.client
import json
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image

from switchrecon.core.reading import ReadOptions
from switchrecon.errors import ConfigError, DataError, RunError
from switchrecon.reports.evaluation import write_report
from switchrecon.reports.viewer.page import embed, parse_slices, save_page
from switchrecon.reports.viewer.planes import encode, log_magnitude
from switchrecon.reports.viewer.server import Viewer
from switchrecon.reports.viewer.sources import find_sources
from switchrecon.reports.viewer.stacks import Layer, Letters, Stack, letters_of
from tests.conftest import blob_images
from tests.reports.test_report import _evaluation as report_folder
from tests.reports.test_report import undrawn

__all__ = ["undrawn"]  # the fixture

RunCli = Callable[..., tuple[int, str, str]]


def decoded(packed: bytes, bits: int, shape: tuple[int, int]) -> np.ndarray:
    """The reading side of ``planes.encode``, as its docstring says."""
    data = zlib.decompress(packed)
    scale, offset = struct.unpack("<dd", data[:16])
    codes = np.frombuffer(data[16:], dtype=np.uint8)
    if bits == 1:
        return np.unpackbits(codes)[: shape[0] * shape[1]].reshape(shape)
    count = shape[0] * shape[1]
    whole = codes[:count].astype(int) + (256 * codes[count:].astype(int) if bits == 16 else 0)
    values = np.where(whole == 2**bits - 1, np.nan, offset + scale * whole)
    return values.reshape(shape)


def evaluation(
    folder: Path, slices: int = 3, methods: tuple[str, ...] = ("zero-filled", "joint"), keep: bool = False
) -> Path:
    """An evaluation's folder, as far as the viewer reads it: two scans of 6 x 8 pixels; ``keep`` the facts there."""
    folder.mkdir(parents=True, exist_ok=True)
    random, count = np.random.default_rng(0), 2 * slices
    np.savez(
        folder / "images.npz",
        scan=np.repeat(["scan-001", "scan-002"], slices),
        slice=np.tile(10 + np.arange(slices), 2),
        reference=random.random((count, 6, 8)).astype(np.float16),
        maximum=np.arange(1, count + 1) * 100.0,
        mask=random.random((count, 6, 8)) < 0.5,
        methods=np.array(methods),
        images=random.random((len(methods), count, 6, 8)).astype(np.float16),
    )
    if not keep:
        (folder / "evaluation.json").write_text("{}")
    return folder


def stack_of(images: np.ndarray, **more: Any) -> Stack:
    return Stack(
        "name", tuple(range(len(images))), images.shape[1:], (Layer("image", {"image": lambda p: images[p]}),), **more
    )


@pytest.mark.parametrize(("bits", "exact"), [(16, 1 / 65534), (8, 1 / 254)])
def test_planes_keep_values_to_half_a_step_and_what_is_not_finite(bits: int, exact: float) -> None:
    values = np.random.default_rng(1).normal(scale=300, size=(7, 9))
    values[2, 3], values[4, 5] = np.nan, np.inf
    known = np.isfinite(values)
    read = decoded(encode(values, bits), bits, values.shape)
    span = values[known].max() - values[known].min()
    assert np.abs(read - values)[known].max() <= 0.5001 * span * exact
    assert np.isnan(read[~known]).all()


@pytest.mark.parametrize("value", [0.0, -3.25, np.nan])
def test_a_plane_of_one_value_keeps_it(value: float) -> None:
    read = decoded(encode(np.full((2, 3), value), 16), 16, (2, 3))
    np.testing.assert_array_equal(read, np.full((2, 3), value))


def test_masks_take_one_bit() -> None:
    mask = np.random.default_rng(2).random((5, 7)) < 0.5
    np.testing.assert_array_equal(decoded(encode(mask, 1), 1, (5, 7)), mask)


def test_log_magnitude_is_over_the_largest_and_ends_at_the_floor() -> None:
    kspace = np.array([[[3j, 0]], [[4, 0]]])  # two coils: 5 and 0
    np.testing.assert_array_equal(log_magnitude(kspace), [[0, -6]])
    np.testing.assert_allclose(log_magnitude(np.array([[100, -10, 1j]])), [[0, -1, -2]])


def test_letters_follow_the_affine() -> None:
    assert letters_of(None) is None
    axial = np.diag([0.0, 0, 3, 1])
    axial[1, 0], axial[0, 1] = -1, -0.5  # rows to the back, columns to the left
    assert letters_of(axial) == Letters(left="R", right="L", top="A", bottom="P")
    oblique = axial.copy()
    oblique[:3, 0] = (0, -np.cos(0.5), -np.sin(0.5))  # 29 degrees towards the feet
    assert letters_of(oblique) == Letters(left="R", right="L", top="AS", bottom="PI")


def test_the_window_is_of_the_truth_and_never_empty() -> None:
    images = np.arange(200.0).reshape(2, 10, 10)
    header = stack_of(images).header()
    assert header["maximum"] == 199
    assert header["window"] == pytest.approx(np.percentile(images, 99.8))
    assert stack_of(np.full((1, 2, 2), np.nan)).header()["window"] == 1
    assert stack_of(np.zeros((1, 2, 2))).header()["maximum"] == 1


def test_kspace_gives_its_image_phase_and_mask(make_scan: Callable[..., Path]) -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[:, ::4] = mask[:, 28:36] = True
    path = make_scan("sub", 1, mask=mask)
    [source] = find_sources([path], names=True)
    stack = source.open()
    assert (source.name, stack.matrix, stack.numbers, stack.truth) == ("subject1", (64, 64), (0, 1, 2), None)
    assert set(stack.kinds(0)) == {"image", "phase", "kspace", "kspace-phase"}
    measured = np.load(path)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(measured[1]), norm="ortho"))
    np.testing.assert_allclose(stack.layers[0].planes["image"](1), np.abs(image), atol=1e-4)
    bright = np.abs(image) > 0.1
    turned = image * np.exp(-1j * stack.layers[0].planes["phase"](1))  # π and −π are one phase
    np.testing.assert_allclose(np.angle(turned)[bright], 0, atol=1e-3)
    np.testing.assert_array_equal(decoded(stack.encoded(0, "mask", 1), 1, (64, 64)), mask)
    assert "acceleration" in stack.notes[0]


def test_a_scan_and_what_was_made_of_it_stand_beside_each_other(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    scan, images = make_scan("scans", 1), np.abs(blob_images(1)).astype(np.float32)
    for folder, shape in (("one", 3), ("other", 2)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "subject1.npy", images[:shape])
    paths = [scan, tmp_path / "one", tmp_path / "other"]
    [source] = find_sources(paths, names=True)
    stack = source.open()
    assert [layer.name for layer in stack.layers] == ["scans", "one"]
    np.testing.assert_allclose(stack.layers[1].planes["image"](0), images[0], atol=1e-5)
    assert any("other is not shown" in note and "2 slices of 64x64" in note for note in stack.notes)
    [plain] = find_sources(paths)
    assert plain.name == "scan-001"
    assert [layer.name for layer in plain.open().layers] == ["image 1", "image 2"]
    assert "subject1" not in json.dumps(plain.open().header())


def test_together_needs_no_equal_names(make_scan: Callable[..., Path]) -> None:
    paths = [make_scan("scans", 1), make_scan("scans", 2)]
    assert len(find_sources(paths)) == 2
    [source] = find_sources(paths, names=True, together=True)
    assert [layer.name for layer in source.open().layers] == ["subject1.npy", "subject2.npy"]


def test_complex_images_are_images_where_that_is_said(tmp_path: Path) -> None:
    images = blob_images(3)
    np.save(tmp_path / "image.npy", images)
    [source] = find_sources([], images=[tmp_path / "image.npy"])
    stack = source.open()
    np.testing.assert_allclose(stack.layers[0].planes["image"](2), np.abs(images[2]), rtol=1e-6)
    np.testing.assert_allclose(stack.layers[0].planes["phase"](2), np.angle(images[2]), atol=1e-6)
    kspace = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images[2]))))
    np.testing.assert_allclose(
        stack.layers[0].planes["kspace"](2), np.log10(np.maximum(kspace / kspace.max(), 1e-6)), atol=0.05
    )


def test_what_reconstruct_writes_is_read_hdf5_and_pictures(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 4, 5)).astype(np.float32)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["reconstruction"] = images
    np.testing.assert_array_equal(
        find_sources([tmp_path / "scan.h5"])[0].open().layers[0].planes["image"](1), images[1]
    )
    pictures = tmp_path / "pictures" / "scan"
    pictures.mkdir(parents=True)
    for number, image in enumerate((255 * images).astype(np.uint8), 1):
        Image.fromarray(image).save(pictures / f"{number:04d}.png")
    [source] = find_sources([tmp_path / "pictures"])
    np.testing.assert_array_equal(source.open().layers[0].planes["image"](0), (255 * images[0]).astype(np.uint8))
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(pictures / "0003.png")
    with pytest.raises(DataError, match=r"0003\.png: the picture has 9x9, others 4x5"):
        source.open()
    (pictures / "0001.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0001\.png: not a readable PNG"):
        source.open()


def test_maps_belong_to_the_images_beside_them(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    scan, images = make_scan("scans", 1), blob_images(1)
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "subject1.npy", images)
    np.save(tmp_path / "out" / "subject1_desc-invented.npy", images / 2)
    [source] = find_sources([scan, tmp_path / "out"], names=True)
    stack = source.open()
    assert [layer.name for layer in stack.layers] == ["scans", "out"]
    assert set(stack.kinds(1)) == {"image", "phase", "kspace", "kspace-phase", "invented"}
    np.testing.assert_allclose(stack.layers[1].planes["image"](1), np.abs(images[1]), rtol=1e-6)  # no k-space
    np.testing.assert_allclose(stack.layers[1].planes["invented"](1), np.abs(images[1]) / 2, rtol=1e-6)
    np.save(tmp_path / "out" / "subject1_desc-doubt.npy", images[:1])
    with pytest.raises(DataError, match=r"subject1_desc-doubt\.npy: 1 slices of 64x64; expected those of"):
        find_sources([tmp_path / "out"])[0].open()
    [alone] = find_sources([tmp_path / "out" / "subject1_desc-doubt.npy"])
    assert alone.open().matrix == (64, 64)
    with h5py.File(tmp_path / "subject1.h5", "w") as file:
        file["reconstruction"], file["doubt"] = np.abs(images), np.abs(images) / 4
    hdf5 = find_sources([tmp_path / "subject1.h5"])[0].open()
    np.testing.assert_allclose(hdf5.layers[0].planes["doubt"](0), np.abs(images[0]) / 4)


def test_nifti_keeps_proportions_and_letters(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random((6, 5, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.0, 2.0, 4.0, 1.0])), tmp_path / "sub-1_T2w.nii.gz")
    stack = find_sources([tmp_path])[0].open()
    assert stack.matrix == (5, 6)  # the padding to a square field of view is not shown
    assert stack.spacing == (2.0, 1.0)
    assert stack.letters == Letters(left="R", right="L", top="A", bottom="P")
    np.testing.assert_allclose(stack.layers[0].planes["image"](1), volume[::-1, ::-1, 1].T, atol=1e-5)
    coronal = find_sources([tmp_path], ReadOptions(slice_axis="coronal"))[0].open()
    assert coronal.letters == Letters(left="R", right="L", top="S", bottom="I")


def test_evaluations_are_found_in_folders_and_shown_in_the_scans_units(tmp_path: Path) -> None:
    evaluation(tmp_path / "grid" / "a")
    evaluation(tmp_path / "grid" / "b")
    sources = find_sources([tmp_path / "grid"])
    assert [source.name for source in sources] == ["1: scan-001", "1: scan-002", "2: scan-001", "2: scan-002"]
    named = find_sources([tmp_path / "grid" / "b", tmp_path / "grid"], names=True)
    assert [source.name for source in named][::2] == ["b: scan-001", "a: scan-001"]
    stack = find_sources([tmp_path / "grid" / "a"])[1].open()
    assert [layer.name for layer in stack.layers] == ["reference", "zero-filled", "joint"]
    assert (stack.truth, stack.numbers) == (0, (10, 11, 12))
    assert stack.only([0]).header()["maximum"] == 600  # of all slices, whichever are shown
    with np.load(tmp_path / "grid" / "a" / "images.npz") as stored:
        expected = stored["images"][1, 4].astype(float) * 500
        np.testing.assert_array_equal(stack.layers[2].planes["image"](1), expected)


def test_folders_without_images_say_what_to_do(tmp_path: Path) -> None:
    evaluation(tmp_path / "a")
    (tmp_path / "a" / "images.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"images\.npz: damaged"):
        find_sources([tmp_path / "a"])
    (tmp_path / "a" / "images.npz").unlink()
    with pytest.raises(RunError, match="evaluate again"):
        find_sources([tmp_path / "a"])
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").touch()
    (run / "log.jsonl").touch()
    with pytest.raises(RunError, match="switchrecon evaluate"):
        find_sources([run])
    with pytest.raises(DataError, match="no such file"):
        find_sources([tmp_path / "absent.h5"])


def test_a_page_under_its_limit_spreads_slices_and_says_so(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((40, 32, 32))
    whole = embed([stack_of(images)], 10**7)
    assert whole.shown == (40, 40)
    some = embed([stack_of(images)], 30_000, prefer={0: [33]})
    held = json.loads(some.data)["stacks"][0]["numbers"]
    assert len(some.data) < 31_000
    assert len(held) == some.shown[0]
    assert 5 < len(held) < 15
    assert 33 in held
    assert max(np.diff(held)) <= 2 * 40 / len(held)
    with pytest.raises(ConfigError, match=r"--limit"):
        embed([stack_of(images)], 1000)
    with pytest.raises(ConfigError, match=r"the slices of --slices \(20\)"):
        embed([stack_of(images)], 30_000, pick=range(20))
    with pytest.raises(ConfigError, match="it has 0 to 39"):
        embed([stack_of(images)], 30_000, pick=[50])


def test_slices_are_numbers_and_ranges() -> None:
    assert parse_slices("3,1,5-8,10-20:5") == [1, 3, 5, 6, 7, 8, 10, 15, 20]
    for wrong in ("", "a", "3-", "-3", "5:2", "9-3", "1-5:0"):
        with pytest.raises(ConfigError, match="--slices"):
            parse_slices(wrong)


def test_the_command_writes_a_page_and_asks_before_it_replaces_one(
    run_cli: RunCli, tmp_path: Path, make_scan: Callable[..., Path]
) -> None:
    scan, page = make_scan("scans", 7), tmp_path / "page.html"
    code, said, _ = run_cli("view", scan, "--out", page, "--slices", "0,2")
    assert code == 0
    assert "scan-001: " in said
    assert "2 slices" in said
    text = page.read_text()
    assert "subject7" not in text
    assert "http:" not in text.replace("http://www.w3.org", "")
    code, _, errors = run_cli("view", scan, "--out", page)
    assert code == 2
    assert "--overwrite" in errors
    assert run_cli("view", scan, "--out", page, "--overwrite", "--names")[0] == 0
    assert "subject7" in page.read_text()
    code, _, errors = run_cli("view", scan, "--slices", "1")
    assert code == 2
    assert "--out" in errors
    assert run_cli("view", scan, "--out", tmp_path / "new.html", "--slice-axis", "axal")[0] == 2
    code, _, errors = run_cli("view")
    assert code == 2
    assert "nothing to view" in errors


def test_the_command_serves_until_it_is_interrupted(
    run_cli: RunCli, make_scan: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Viewer, poll_interval: float = 0.5) -> None:
        assert [source.name for source in self.sources] == ["subject7"]
        raise KeyboardInterrupt

    monkeypatch.setattr(Viewer, "serve_forever", interrupted)
    code, said, _ = run_cli("view", make_scan("scans", 7))
    assert code == 0
    assert re.match(r"open http://127\.0\.0\.1:\d+/\?token=[\w-]{43}\n", said)
    assert said.endswith("ended\n")
    with Viewer([]) as other:
        code, _, errors = run_cli("view", make_scan("scans", 7), "--port", other.server_port)
    assert code == 2
    assert f"--port {other.server_port}: cannot be used" in errors


def test_names_cannot_leave_the_data_element(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>\u2028"
    evaluation(tmp_path, methods=("zero-filled", evil))
    save_page(find_sources([tmp_path]), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    data = re.search(r'id="viewer-data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["stacks"][0]["layers"][2]["name"] == evil


Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Viewer]:
    with Viewer(find_sources([evaluation(tmp_path / "evaluation")], names=True)) as viewer:
        thread = threading.Thread(target=viewer.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield viewer
        viewer.shutdown()
        thread.join()


def ask(
    server: Viewer, path: str, method: str = "GET", cookie: bool = True, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    given = {"Host": f"127.0.0.1:{server.server_port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if cookie:
        given["Cookie"] = f"{server.cookie}={server.token}"
    connection.request(method, path, headers=given)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_the_server_gives_planes_to_who_knows_the_token(server: Viewer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 40
    status, headers, page = ask(server, f"/?token={server.token}", cookie=False)
    assert status == 200
    assert b"scan-001" in page
    assert server.token.encode() not in page
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]
    status, headers, body = ask(server, "/stack/0")
    assert json.loads(body)["numbers"] == [10, 11, 12]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    status, _, body = ask(server, "/plane/1/2/image/1")
    assert status == 200
    np.testing.assert_allclose(
        decoded(body, 16, (6, 8)), server.sources[1].open().layers[2].planes["image"](1), atol=0.01
    )


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/", {"cookie": False}, 403),
        ("/?token=wrong", {"cookie": False}, 403),
        ("/?token=%ff%00", {"cookie": False}, 403),
        ("/stack/0", {"cookie": False}, 403),
        ("/stack/0", {"cookie": False, "Cookie": "switchrecon-1=x; =;;"}, 403),
        ("/stack/0", {"Host": "evil.example"}, 403),
        ("/stack/0", {"Host": "127.0.0.1"}, 403),
        ("/stack/0", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("/stack/0", {"method": "POST"}, 501),
        ("/stack/2", {}, 404),
        ("/stack/-1", {}, 404),
        ("/stack/0/../../etc/passwd", {}, 404),
        ("/../../etc/passwd", {}, 404),
        ("/%2e%2e/etc/passwd", {}, 404),
        ("/plane/0/9/image/0", {}, 404),
        ("/plane/0/0/image/99", {}, 404),
        ("/plane/0/0/phase/0", {}, 404),
        ("/plane/0/0/secrets/0", {}, 404),
        ("/evaluation/images.npz", {}, 404),
    ],
)
def test_the_server_refuses_everything_else(server: Viewer, path: str, more: dict[str, Any], status: int) -> None:
    found, headers, body = ask(server, path, **more)
    assert found == status
    assert "Set-Cookie" not in headers
    assert server.token.encode() not in body


def test_a_file_that_vanishes_is_said_by_the_server(server: Viewer) -> None:
    server.sources[0].files[0].unlink()
    status, _, body = ask(server, "/stack/0")
    assert status == 500
    assert b"images.npz" in body


@pytest.mark.usefixtures("undrawn")
def test_a_report_holds_the_viewer_where_images_are_stored(tmp_path: Path) -> None:
    report_folder(tmp_path, ["zero-filled", "joint"], examples=1)
    assert "<script" not in write_report(tmp_path).read_text()
    evaluation(tmp_path, keep=True)
    text = write_report(tmp_path).read_text()
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; base-uri" in text
    assert re.search(r'<section class="viewer"[^>]* hidden>', text)  # without scripts, pictures stand alone
    assert text.index('<div class="viewer-still">') < text.rindex("scan-000, slice 7")
    assert "6 of 6 slices are in this file" in text
    (tmp_path / "images.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"images\.npz"):
        write_report(tmp_path)
    assert "6 of 6 slices" in (tmp_path / "report.html").read_text()
