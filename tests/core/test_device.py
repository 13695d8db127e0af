"""Devices: names, tensors that stay where they belong, nothing that waits for a GPU, and steps recorded for replay.

There need be no GPU here. Tensors without data ("meta") stand in for one: an operation that mixes them with tensors of
the processor is refused, and so is whatever needs to know a number.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from switchrecon.config import Config
from switchrecon.core import device
from switchrecon.core.device import find_device, set_up
from switchrecon.data.piles import TrainingData, read_training_data
from switchrecon.data.slices import Slice, Slices
from switchrecon.errors import ConfigError
from switchrecon.experiments import engines
from switchrecon.experiments.engines import fitting_workers
from switchrecon.experiments.grid import make_grid
from switchrecon.experiments.recipe import parse_recipe
from switchrecon.methods.methods import METHODS, Phase, find_method, with_method_settings
from switchrecon.methods.step import Batch, Step
from switchrecon.methods.together import Plans, make_together
from switchrecon.physics.operators import Encoding, Sensitivity
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.training.batches import Batches
from switchrecon.training.cuda_graphs import EAGER_STEPS, CudaGraphs, Recorded, batch_of, tensors_of
from switchrecon.training.optim import Lookahead
from switchrecon.training.state import Measured, State, build_state, parts
from switchrecon.training.train import train
from switchrecon.training.updates import take_step
from tests.conftest import LEARNED, blob_images, examples, tiny_config

META = torch.device("meta")
MakeScan = Callable[..., Path]


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[list[Path], list[Path]]:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


def settings(name: str, *more: str) -> Config:
    config = tiny_config(f"method={name}", "cascades=2", "unet_width=2", "warm_up=0", *more)
    return with_method_settings(config, METHODS[name])


@pytest.mark.parametrize(("name", "wrong"), [("gpu", "unknown device 'gpu'"), ("cuda:99", "device 'cuda:99' is not")])
def test_a_device_that_is_not_there_is_refused_in_one_sentence(
    name: str, wrong: str, tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]], piles: tuple[Any, Any]
) -> None:
    with pytest.raises(ConfigError, match=wrong):
        find_device(name)
    out = tmp_path / "run"
    code, _, err = run_cli("train", "--full", *piles[0], "--sub", *piles[1], "--out", out, "--device", name)
    assert code == 2
    assert wrong in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_the_environment_names_the_device_of_a_command_and_auto_needs_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHRECON_DEVICE", "cuda:77")
    with pytest.raises(ConfigError, match=r"torch .* sees"):
        find_device()
    assert find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(find_device(name)) for name in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    monkeypatch.setenv("SWITCHRECON_DEVICE", "auto")
    assert engines.places() == ["cuda:0", "cuda:1"]
    monkeypatch.setenv("SWITCHRECON_DEVICE", "cuda:1")
    assert engines.places() == ["cuda:1"]
    assert engines.places("auto") == ["cuda:0", "cuda:1"]


@pytest.mark.skipif(torch.cuda.device_count() > 77, reason="the device that is not there is there")
def test_every_command_that_computes_reads_its_device(
    tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]], trained: Callable[..., Path]
) -> None:
    run, scan, recipe = trained(), tmp_path / "scan.npy", tmp_path / "recipe.yaml"
    np.save(scan, np.zeros((1, 64, 64), np.complex64))
    recipe.write_text(
        "{title: t, data: {heads: 3, head_slices: 1}, folds: 3, common: {matrix: 64}, methods: {supervised: {}}}"
    )
    before = dict(os.environ)
    for command in (
        ["demo"],
        ["train", "--full", scan, "--sub", scan],
        ["reconstruct", run, scan],
        ["evaluate", run, "--reference", scan],
        ["crossval", "--config", recipe],
    ):
        out = tmp_path / str(command[0])
        code, _, err = run_cli(*command, "--out", out, "--device", "cuda:77")
        assert (code, err.splitlines()[-1][:31]) == (2, "error: device 'cuda:77' is not "), command
        assert not (out / "data").exists() or command[0] == "crossval"
    assert dict(os.environ) == before


class Transfers(TorchDispatchMode):
    """Counts bytes that go from the processor to the other device."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        result = function(*arguments, **(named or {}))
        place = {torch.ops.aten.copy_: 1, torch.ops.aten._to_copy: 0}.get(function.overloadpacket)
        source = None if place is None else arguments[place]
        if isinstance(source, Tensor) and source.device != result.device:
            self.total += source.numel() * source.element_size()
        return result


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
@pytest.mark.parametrize("name", LEARNED)
def test_a_step_stays_on_its_device_and_waits_for_no_number(
    name: str, together: bool, piles: tuple[list[Path], list[Path]]
) -> None:
    config, method = settings(name), METHODS[name]
    data = read_training_data(*piles, config, method.pairing)
    batches = Batches(data, config, method.pairing, META)
    for lazy in ("centre", "density", "directions") if data.sub is not None else ():
        getattr(batches.source, lazy)  # computed on the processor, once
    players = method.cast.build(config).to(META)
    slices = next(iter(data.piles.values())).slices
    image_bytes = slices[0].image.numel() * slices[0].image.element_size()
    plans = Plans()
    plans(method.phases, batches.batch(0))  # found out once a run
    with Transfers() as transfers:
        for step in range(3):
            batch = batches.batch(step)
            images = Step(players, batch, [phase.group for phase in method.phases])
            plan = plans(method.phases, batch) if together else [()] * len(method.phases)
            for phase, names in zip(method.phases, plan, strict=True):
                make_together(images, names)
                losses = [weight * objective(images) for objective, weight in phase.objectives.items()]
                parameters = list(getattr(players, phase.group).parameters())
                torch.stack(losses).sum().backward(inputs=parameters, retain_graph=True)
                images.moved(phase.group)
                assert all(p.grad is None or p.grad.device == META for p in parameters)
    # The slices are there already: only z and drawn masks (a byte a pixel) are sent, which is less than one image.
    assert transfers.total / 3 < image_bytes / 2, transfers.total


def test_slices_of_a_cache_are_moved_when_they_are_asked_for(
    tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    config = settings("switchable")
    data: TrainingData = read_training_data(*piles, config, "unpaired", tmp_path / "cache")
    batch = Batches(data, config, "unpaired", META).batch(0)
    assert {tensor.device for tensor in tensors_of(batch).values()} == {META}


def test_a_reconstruction_on_another_device_takes_several_slices_and_fewer_where_memory_is_short(
    trained: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Reconstructor.load(trained("switchable", "complex"), data_consistency="hard")
    kspace = torch.fft.fftn(torch.from_numpy(blob_images(9, 7)), dim=(-2, -1))
    mask = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.4
    expected = one(kspace, mask)
    sizes: list[int] = []
    alone = Reconstructor._slices

    def limited(self: Reconstructor, measured: Tensor, *others: Any) -> Tensor:
        if len(measured) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(measured))
        return alone(self, measured, *others)

    monkeypatch.setattr(Reconstructor, "_slices", limited)
    monkeypatch.setattr("switchrecon.reconstruction.reconstructor.set_up", lambda *arguments: None)
    monkeypatch.setattr(one, "device", type("Device", (), {"type": "cuda"})())
    convert = Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda own, to: convert(own, to) if isinstance(to, torch.dtype) else own)
    torch.testing.assert_close(one(kspace, mask), expected, rtol=1e-4, atol=1e-4)
    assert sizes == [2, 2, 2, 1]


@pytest.mark.parametrize(
    ("known", "emulated"),
    [
        ({"architecture": "x86_64", "avx512_f": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": True}, False),
        ({"architecture": "x86_64", "amx_bf16": True}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_bfloat16_is_warned_of_where_a_processor_emulates_it(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, object], emulated: bool
) -> None:
    monkeypatch.setattr(device, "_capabilities", lambda: known)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        set_up(torch.device("cpu"), "float32")
        assert not caught
        set_up(torch.device("cpu"), "bfloat16")
    assert [str(one.message).split(" (")[0] for one in caught] == emulated * [
        "precision bfloat16: this processor does not compute in it"
    ]


@pytest.mark.parametrize("name", ["switchable", "cyclegan", "supervised"])
def test_bfloat16_convolutions_leave_float32_outside_and_change_results_a_little(name: str) -> None:
    x = torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    masks = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.5
    outputs = []
    for precision in ("float32", "bfloat16"):
        config = settings(name, f"precision={precision}", "width=8")
        players = build_state(METHODS[name], config).players
        outputs.append(players.to_full(x, Encoding(masks)))
    assert [own.dtype for own in outputs] == [torch.float32] * 2
    difference = float((outputs[0] - outputs[1]).detach().norm() / outputs[0].detach().norm())
    assert 1e-5 < difference < 0.1


@pytest.mark.filterwarnings("ignore:precision bfloat16")  # of a processor that emulates it
def test_a_training_in_bfloat16_is_finite_and_reconstructs_in_float32_on_a_processor(
    tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    run = train(settings("switchable", "precision=bfloat16"), *piles, tmp_path / "run")
    assert Reconstructor.load(run).config.precision == "float32"
    assert Reconstructor.load(run, precision="bfloat16").config.precision == "bfloat16"
    with pytest.raises(ConfigError, match="unknown precision 'half'"):
        Reconstructor.load(run, precision="half")


# Recorded steps. On a processor a "recording" is the function itself, run when it is replayed.


class Replayer:
    """Records as a GPU does: nothing happens until the replay, which reads and writes the same tensors each time."""

    def __init__(self, lookaheads: Sequence[Lookahead], fault: float = 0.0) -> None:
        self.lookaheads = lookaheads
        self.fault = fault
        self.problem: str | None = None
        self.replays = self.forgotten = 0

    def watch(self, function: Callable[[], Measured[Tensor]]) -> tuple[Measured[Tensor], str | None]:
        return function(), self.problem

    def forget(self) -> None:
        self.forgotten += 1

    def record(self, function: Callable[[], Measured[Tensor]]) -> tuple[Callable[[], object], Measured[Tensor]]:
        results: Measured[Tensor] = Measured()
        due = [own.due for own in self.lookaheads]

        def replay() -> None:
            assert [own.due for own in self.lookaheads] == due  # a graph cannot decide anew
            found = function()
            for kept, made in ((results.losses, found.losses), (results.gradients, found.gradients)):
                for name, value in made.items():
                    kept[name] = kept[name].copy_(value) if name in kept else value.clone()
            self.replays += 1
            for own in self.lookaheads if self.fault else ():
                with torch.no_grad():
                    own.parameters()[0].mul_(1 + self.fault)

        return replay, results


def made(name: str, piles: tuple[list[Path], list[Path]]) -> tuple[State, Batches, tuple[Phase, ...]]:
    config = settings(name, "steps=30", "lookahead_steps=3", "learning_rate=1e-3")
    method = find_method(config)
    data = read_training_data(*piles, config, method.pairing)
    return build_state(method, config), Batches(data, config, method.pairing), method.phases


def looking_ahead(state: State) -> list[Lookahead]:
    return [own for own in state.optimizers.values() if isinstance(own, Lookahead)]


RECORDED = ["switchable", "iscl", "simulated", "joint", "self-supervised", "joint-adversarial"]


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
@pytest.mark.parametrize("name", examples(RECORDED, "switchable", "joint"))
def test_replayed_steps_give_the_weights_of_plain_ones(
    name: str, together: bool, piles: tuple[list[Path], list[Path]]
) -> None:
    finals, losses = [], []
    plain_step = partial(take_step, plans=Plans()) if together else take_step
    for recorded in (False, True):
        state, batches, phases = made(name, piles)
        replayer = Replayer(looking_ahead(state))
        take = Recorded(plain_step, replayer) if recorded else plain_step
        found = [take(state, phases, batches.batch(step)) for step in range(14)]
        losses.append([[float(value) for value in one.values] for one in found])
        finals.append({key: tensor.clone() for key, tensor in parts(state)[0].items()})
        if recorded:
            kinds = 2 if looking_ahead(state) else 1  # with and without a slow step
            assert len(take.recordings) == kinds  # type: ignore[attr-defined]
            assert replayer.replays == 14 - EAGER_STEPS + kinds  # one of each to compare
            assert not take.given_up  # type: ignore[attr-defined]
    assert losses[0] == losses[1]
    assert finals[0].keys() == finals[1].keys()
    assert all(torch.equal(finals[0][key], finals[1][key]) for key in finals[0])


def test_a_recording_that_gives_other_weights_is_given_up_with_a_warning_and_leaves_no_trace(
    piles: tuple[list[Path], list[Path]],
) -> None:
    state, batches, phases = made("switchable", piles)
    plain, *_ = made("switchable", piles)
    take = Recorded(take_step, Replayer(looking_ahead(state), fault=0.5))
    for step in range(8):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            take(state, phases, batches.batch(step))
        assert [str(one.message)[:59] for one in said] == (
            ["training steps are not replayed as CUDA graphs, so that the"] if step == EAGER_STEPS else []
        )
        take_step(plain, phases, batches.batch(step))
    mine, theirs = parts(state)[0], parts(plain)[0]
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_steps_that_cannot_be_recorded_are_taken_plainly_and_said_once(piles: tuple[list[Path], list[Path]]) -> None:
    def own_objective(images: Step) -> Tensor:
        return images.full_of_x.abs().mean()

    def looking_at_draws(images: Step) -> Tensor:
        return images.full_of_x.abs().mean() * len(images.drawn.positions)  # type: ignore[attr-defined]

    own = (Phase("generator", {own_objective: 1}),)
    looking = (Phase("generator", {looking_at_draws: 1}),)
    for name, given, waits, reason in (
        ("simulated", own, None, "an objective is not the package's"),
        ("joint", looking, None, "an objective is not the package's"),
        ("simulated", None, "it waits for a number", "it waits for a number"),
    ):
        state, batches, phases = made(name, piles)
        plain, *_ = made(name, piles)
        replayer = Replayer([])
        replayer.problem = waits
        take = Recorded(take_step, replayer)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for step in range(EAGER_STEPS + 2):
                take(state, given or phases, batches.batch(step))
        assert [reason in str(one.message) for one in said] == [True]
        assert replayer.replays == 0
        for step in range(EAGER_STEPS + 2):
            take_step(plain, given or phases, batches.batch(step))
        mine, theirs = parts(state)[0], parts(plain)[0]
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_a_recording_that_fails_ends_in_a_plain_step(piles: tuple[list[Path], list[Path]]) -> None:
    class Failing(Replayer):
        def record(self, function: Callable[[], Measured[Tensor]]) -> Any:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")

    state, batches, phases = made("simulated", piles)
    take = Recorded(take_step, Failing([]))
    for step in range(EAGER_STEPS):
        take(state, phases, batches.batch(step))
    with pytest.warns(UserWarning, match="recording failed: operation not permitted when stream"):
        take(state, phases, batches.batch(EAGER_STEPS))
    assert take.given_up


def test_recordings_are_dropped_after_a_setback(piles: tuple[list[Path], list[Path]]) -> None:
    state, batches, phases = made("simulated", piles)
    replayer = Replayer([])
    take = Recorded(take_step, replayer)
    for step in range(EAGER_STEPS + 2):
        take(state, phases, batches.batch(step))
    assert len(take.recordings) == 1
    state.course.setbacks += 1
    take(state, phases, batches.batch(9))
    assert not take.recordings
    assert replayer.forgotten == 1


def test_a_batch_is_made_of_its_tensors_again() -> None:
    random = np.random.RandomState(0)
    image = torch.from_numpy(random.rand(1, 2, 8, 8).astype(np.float32))
    maps = torch.complex(*torch.rand(2, 1, 3, 8, 8))
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    batch = Batch(
        image, image + 1, torch.zeros(1, 4), Encoding(mask, Sensitivity(maps)), Encoding(~mask), torch.zeros(1, 3, 8, 8)
    )
    again = batch_of(tensors_of(batch))
    assert torch.equal(again.x, batch.x)
    assert torch.equal(again.y, batch.y)
    assert again.encoding_x.maps is maps
    assert again.encoding_y.maps is None
    assert again.measured is batch.measured


@pytest.mark.parametrize("waits", [True, False])
def test_watching_tells_a_step_that_waits_from_torchs_remark_on_watching(
    monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    remark = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
    monkeypatch.setattr("torch.cuda.set_sync_debug_mode", lambda mode: warnings.warn(remark, stacklevel=2))

    def step() -> dict[str, Tensor]:
        if waits:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
        warnings.warn("something else", stacklevel=2)
        return {}

    graphs = CudaGraphs.__new__(CudaGraphs)  # without a GPU it cannot be made
    with pytest.warns(UserWarning, match="something else") as said:
        assert graphs.watch(step) == ({}, "it waits for a number" if waits else None)
    assert len(said) == 1


def test_free_memory_is_what_the_system_has_and_the_group_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("switchrecon.core.threads.GROUPS", tmp_path)
    whole = engines.available_memory()
    assert whole > 1 << 20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 4000\ninactive_file 1000\n")
    assert engines.available_memory() > whole / 2
    (tmp_path / "memory.max").write_text("12000\n")
    assert engines.available_memory() == 8000


def test_cells_are_counted_on_systems_that_say_less_than_linux(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = {"title": "t", "data": {"heads": 3}, "folds": 3, "run_folds": [0], "methods": {"joint": {}}}
    cells = make_grid(parse_recipe({**recipe, "common": {"matrix": 64}}, "r"), tmp_path, tmp_path / "out").cells
    monkeypatch.setattr("switchrecon.core.threads.GROUPS", tmp_path)
    monkeypatch.setattr("switchrecon.core.threads.STATISTICS", tmp_path / "none")
    monkeypatch.setattr(engines, "MEMORY", tmp_path / "none")
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    macos = {"SC_PHYS_PAGES": 1 << 22, "SC_PAGE_SIZE": 4096}

    def sysconf(name: str) -> int:
        if name not in macos:
            raise ValueError("unrecognized configuration name")
        return macos[name]

    monkeypatch.setattr("os.sysconf", sysconf)
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 1.0, 1.0))
    assert engines.available_memory() == 8 << 30  # half of the machine's 16 GiB
    assert fitting_workers(cells, ["cpu"]) == 3  # one core is busy
    macos["SC_PHYS_PAGES"] = 1 << 20  # 4 GiB
    assert fitting_workers(cells, ["cpu"]) == (2 << 30) // engines.memory_of(cells[0])
    monkeypatch.delattr("os.sysconf")  # as on Windows
    monkeypatch.delattr("os.getloadavg")
    assert engines.available_memory() is None
    with caplog.at_level("WARNING"):
        assert fitting_workers(cells, ["cpu"]) == 4
    assert "--workers" in caplog.text


@pytest.mark.more
def test_no_more_cells_share_a_gpu_than_its_memory_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setattr("switchrecon.experiments.engines.available_memory", lambda: 1 << 42)
    free = {"cuda:0": 80 << 30, "cuda:1": 7 << 30, "cuda:2": 1 << 30}
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free[device], 80 << 30))
    recipe = {"title": "t", "data": {"heads": 3}, "folds": 3, "run_folds": [0], "methods": {"switchable": {}}}
    many = {"matrix": 256, "slices_per_scan": 1500}  # slices that lie there
    for number, (common, expected) in enumerate(
        [(many, [4, 1, 1]), ({"matrix": 256}, [4, 2, 1]), ({"matrix": 64}, [4, 4, 1])]
    ):
        plan = parse_recipe({**recipe, "common": common}, "r")
        cells = make_grid(plan, tmp_path, tmp_path / str(number)).cells
        assert [fitting_workers(cells, [device], 64) for device in free] == expected
    assert fitting_workers(cells, ["cuda:0", "cuda:1"], 64) == 8
    assert fitting_workers(cells, ["cpu"], 64) == 64
    assert fitting_workers(cells, ["cpu"], 1000) == 64


def test_slices_that_do_not_fit_a_device_are_sent_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = torch.ones(4, 4, dtype=torch.complex64), torch.ones(4, 4, dtype=torch.bool)
    own = Slices([Slice(image, mask, 1.0, "scan", number, "subject") for number in range(3)])
    with monkeypatch.context() as patched:

        def full(self: Slice, device: torch.device) -> Slice:
            raise torch.OutOfMemoryError("CUDA out of memory")

        patched.setattr(Slice, "to", full)
        later = own.to(META)
    assert [one.index for one in later] == [0, 1, 2]
    assert later[0].image.device == META
    bright = own[1].brightness(1.0)
    later.scale(1.0, 2.0)
    assert later[1].scale == pytest.approx(2 * bright)
    assert later[1].image.device == META
