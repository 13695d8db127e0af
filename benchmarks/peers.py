"""Peers on the same slices, masks, steps and processor time, each at its best of three rates or weights.

Usage: runs/peers/venv/bin/python benchmarks/peers.py [--data DIR] [--matrix 64] [--steps 300] [--minutes M]
    [--rows ...] [--set mask.acceleration=6 ...] [--out runs/peers]

The environment is ``benchmarks/peers-requirements.txt``. Learned rows see the same batches (pairs simulated from fully
sampled slices with a new mask in each step), the L1 loss, AdamW, the same limit of gradients and a cosine schedule, and
end after ``--steps``, or after ``--minutes`` of processor time, whichever comes first. Rates, and classical rows'
weights, are chosen by PSNR on a validation subject; the table is of a third one. Without ``--data``
(``*T2w*.nii.gz`` of three subjects or more) the subjects are synthetic heads. Each row runs in a process of its own,
one thread; a row whose peer is not installed says so.
"""

import argparse
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from switchrecon.config import Config, load_config
from switchrecon.data.piles import read_training_data
from switchrecon.metrics.metrics import psnr, ssim
from switchrecon.nets.builder import build_generator
from switchrecon.phantoms.scans import write_heads
from switchrecon.physics.fourier import fourier
from switchrecon.physics.intensity import channels_to_complex, complex_to_channels
from switchrecon.physics.operators import Encoding
from switchrecon.physics.solvers import total_variation
from switchrecon.scans.bart import write_bart
from switchrecon.training.batches import Batches

RATES = (1e-3, 3e-3, 1e-2)
WEIGHTS = (0.001, 0.003, 0.01)  # of the slice's scale
CLIP, RISE, ITERATIONS = 1.0, 0.02, 60
Solve = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Row:
    """A peer: its package, and a network to train or a solver with a weight to choose.

    Attributes
    ----------
    build
        Makes the network: (B, 2, H, W) zero-filled images and boolean masks (B, H, W) → (B, 2, H, W).
    solve
        Image (H, W) of centred k-space (H, W), its mask and a weight.
    """

    package: str
    build: Callable[[Config], nn.Module] | None = None
    solve: Solve | None = None


class Ours(nn.Module):
    """The unrolled network, as `joint` has it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.generator = build_generator(config, adaptive=False)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :class:`Row`."""
        made: Tensor = self.generator(image, Encoding(mask))
        return made


class FastmriUnet(nn.Module):
    """fastMRI's U-Net on two channels, 3 pooling layers."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        from fastmri.models import Unet

        self.net = Unet(2, 2, channels, 3)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :class:`Row`."""
        made: Tensor = self.net(image)
        return made


class FastmriVarNet(nn.Module):
    """Cascades of fastMRI's end-to-end VarNet, with the one coil that sees all places alike."""

    def __init__(self, cascades: int = 4, channels: int = 8) -> None:
        super().__init__()
        from fastmri.models.varnet import NormUnet, VarNetBlock

        self.cascades = nn.ModuleList(VarNetBlock(NormUnet(channels, 3)) for _ in range(cascades))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :class:`Row`."""
        import fastmri

        measured = torch.view_as_real(mask * fourier(channels_to_complex(image)))[:, None]
        maps = torch.zeros_like(measured)
        maps[..., 0] = 1
        kspace = measured
        for cascade in self.cascades:
            kspace = cascade(kspace, measured, mask[:, None, ..., None], maps)
        return fastmri.ifft2c(kspace)[:, 0].permute(0, 3, 1, 2)


class DeepinvMoDL(nn.Module):
    """deepinv's MoDL: iterations of one network and conjugate gradients."""

    def __init__(self, iterations: int = 4) -> None:
        super().__init__()
        from deepinv.models import MoDL

        self.net = MoDL(num_iter=iterations)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :class:`Row`."""
        from deepinv.physics import MRI

        physics = MRI(mask=mask[:, None].expand(-1, 2, -1, -1).float(), img_size=tuple(image.shape[1:]))
        made: Tensor = self.net(physics.A(image), physics)
        return made


def our_total_variation(kspace: Tensor, mask: Tensor, weight: float) -> Tensor:
    """Ours."""
    encoding = Encoding(mask[None])
    return total_variation(encoding, encoding.H(kspace[None, None]), weight, iterations=ITERATIONS)[0]


def sigpy_app(name: str) -> Solve:
    """One of sigpy's reconstructions, with the one coil that sees all places alike."""

    def solve(kspace: Tensor, mask: Tensor, weight: float) -> Tensor:
        from sigpy.mri import app

        measured, maps = kspace.numpy()[None], np.ones((1, *kspace.shape), np.complex64)
        own = getattr(app, name)(
            measured, maps, weight, weights=mask.numpy()[None].astype(np.float32), max_iter=ITERATIONS, show_pbar=False
        )
        return torch.from_numpy(np.asarray(own.run()).astype(np.complex64))

    return solve


def bart_pics(kind: str) -> Solve:
    """``bart pics`` with a regulariser, ADMM for total variation and FISTA for wavelets."""

    def solve(kspace: Tensor, mask: Tensor, weight: float) -> Tensor:
        how = ["-m", "-u0.1"] if kind == "T" else []
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for name, array in (("kspace", kspace), ("maps", torch.ones_like(kspace))):
                write_bart(array.numpy()[None], folder / f"{name}.cfl")
            words = ["bart", "pics", "-w1", "-i", str(ITERATIONS), *how, "-R", f"{kind}:3:0:{weight}"]
            subprocess.run([*words, "kspace", "maps", "image"], cwd=folder, check=True, capture_output=True)
            values = np.fromfile(folder / "image.cfl", np.complex64)
        return torch.from_numpy(values.reshape(kspace.shape, order="F").copy())

    return solve


ROWS: dict[str, Row] = {
    "switchrecon, unrolled": Row("switchrecon", build=Ours),
    "fastMRI VarNet cascades": Row("fastmri", build=lambda config: FastmriVarNet()),
    "fastMRI U-Net": Row("fastmri", build=lambda config: FastmriUnet()),
    "deepinv MoDL": Row("deepinv", build=lambda config: DeepinvMoDL()),
    "switchrecon, total variation": Row("switchrecon", solve=our_total_variation),
    "sigpy, total variation": Row("sigpy", solve=sigpy_app("TotalVariationRecon")),
    "sigpy, wavelets": Row("sigpy", solve=sigpy_app("L1WaveletRecon")),
    "BART, total variation": Row("bart", solve=bart_pics("T")),
    "BART, wavelets": Row("bart", solve=bart_pics("W")),
}


@dataclass
class Slices:
    """Test slices: references (N, H, W), measured k-space and masks, complex and boolean."""

    references: Tensor
    kspace: Tensor
    masks: Tensor

    def quality(self, images: Tensor) -> tuple[float, float]:
        """Mean PSNR in dB and SSIM of magnitudes, each slice's range its reference's maximum."""
        pairs = [(r.abs().numpy(), u.abs().numpy()) for r, u in zip(self.references, images, strict=True)]
        return statistics.fmean(psnr(r, u) for r, u in pairs), statistics.fmean(ssim(r, u) for r, u in pairs)


def slices_of(files: Sequence[Path], config: Config, most: int = 10) -> Slices:
    """Slices of scans as they are evaluated: the whole image and its own mask."""
    few = config.model_copy(update={"pile_slices": most, "augment": "none"})
    pile = read_training_data(files, [], few, "paired").full
    assert pile is not None
    images = torch.stack([own.image for own in pile.slices])
    masks = torch.stack([own.mask for own in pile.slices])
    return Slices(images, masks * fourier(images), masks)


def subjects(asked: argparse.Namespace) -> list[list[Path]]:
    """Training, validation and test scans: no subject in two of them."""
    if asked.data is None:
        files = write_heads(asked.out / f"heads-{asked.matrix}", range(5), 5, asked.matrix)
        return [files[:3], files[3:4], files[4:]]
    found: dict[str, list[Path]] = {}
    for file in sorted(asked.data.rglob("*T2w*.nii.gz")):
        found.setdefault(file.name.split("_")[0], []).append(file)
    if len(found) < 3:
        raise SystemExit(f"{asked.data}: *T2w*.nii.gz of {len(found)} subjects, expected at least 3")
    *learnt, validation, test = found.values()
    return [[file for own in learnt for file in own], validation, test]


def trained(row: Row, batches: Batches, rate: float, asked: argparse.Namespace) -> tuple[nn.Module, int, float]:
    """A network trained at a rate, how many steps that took, and the processor time in seconds."""
    assert row.build is not None
    torch.manual_seed(0)
    network = row.build(batches.config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    started, step, part = time.process_time(), 0, 0.0
    while part < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (part + 1 / asked.steps) / RISE) * (1 + math.cos(math.pi * part)) / 2
        batch = batches.batch(step)
        optimizer.zero_grad()
        loss = (network(batch.x, batch.encoding_x.mask) - batch.y).abs().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        step += 1
        spent = time.process_time() - started
        part = max(step / asked.steps, spent / (60 * asked.minutes) if asked.minutes else 0)
    return network.eval(), step, time.process_time() - started


def reconstructor(row: Row, network: nn.Module | None, weight: float) -> Callable[[Slices], Tensor]:
    """What makes the images of slices, one by one."""

    def one(kspace: Tensor, mask: Tensor) -> Tensor:
        if row.solve is not None:
            return row.solve(kspace, mask, weight)
        assert network is not None
        zero_filled = Encoding(mask[None]).H(kspace[None, None])
        with torch.no_grad():
            return channels_to_complex(network(complex_to_channels(zero_filled), mask[None]))[0]

    return lambda slices: torch.stack([one(k, m) for k, m in zip(slices.kspace, slices.masks, strict=True)])


def processor_seconds() -> float:
    """Of this process and of the programs that it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in used)


def measure(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """A row's quality on the test subject at the rate or weight that is best on the validation subject."""
    row = ROWS[name]
    if row.package == "bart":
        if shutil.which("bart") is None:
            return {"missing": "bart"}
        number = subprocess.run(["bart", "version"], capture_output=True, text=True, check=True).stdout.strip()
    else:
        try:
            number = version(row.package)
            __import__(row.package)
        except ImportError as error:
            return {"missing": f"{row.package} ({error})"}
    torch.set_num_threads(1)
    settings = [f"matrix={asked.matrix}", "method=simulated", "network=unrolled", f"steps={asked.steps}"]
    config = load_config(None, [*settings, *asked.set])
    learnt, validation, test = subjects(asked)
    data = read_training_data(learnt, [], config, "simulated")
    batches, tried = Batches(data, config, "simulated"), []
    checked, tested = slices_of(validation, config), slices_of(test, config)
    for choice in RATES if row.build else WEIGHTS:
        network, steps, seconds = trained(row, batches, choice, asked) if row.build else (None, 0, 0.0)
        reconstruct = reconstructor(row, network, choice)
        quality = checked.quality(reconstruct(checked))[0]
        started = processor_seconds()
        values = tested.quality(reconstruct(tested))
        a_slice = (processor_seconds() - started) / len(tested.masks)
        tried.append(
            {
                "choice": choice,
                "validation": quality,
                "psnr": values[0],
                "ssim": values[1],
                "steps": steps,
                "seconds": seconds,
                "seconds a slice": a_slice,
                "parameters": sum(own.numel() for own in network.parameters()) if network is not None else 0,
            }
        )
    best = max(tried, key=lambda own: own["validation"] if math.isfinite(own["validation"]) else -math.inf)
    zero = tested.quality(Encoding(tested.masks).H(tested.kspace[:, None]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"version": number, **best, "memory": memory, "tried": tried, "zero-filled": zero}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    heads = ["row", "version", "rate or weight", "PSNR (dB)", "SSIM", "parameters", "steps", "training (s)"]
    lines = ["| " + " | ".join([*heads, "a slice (s)", "memory (MiB)"]) + " |", "|---|---|" + "---:|" * 8]
    zero = next((own["zero-filled"] for own in found.values() if "zero-filled" in own), None)
    if zero is not None:
        lines.append(f"| zero filling | | | {zero[0]:.2f} | {zero[1]:.3f} | | | | | |")
    for name, own in found.items():
        if "missing" in own:
            lines.append(f"| {name} | not there: {own['missing']} | | | | | | | | |")
            continue
        cells = [name, own["version"], f"{own['choice']:g}", f"{own['psnr']:.2f}", f"{own['ssim']:.3f}"]
        cells += [f"{own['parameters']:,}", f"{own['steps']:,}", f"{own['seconds']:.0f}"]
        lines.append("| " + " | ".join([*cells, f"{own['seconds a slice']:.3f}", f"{own['memory']:.0f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the rows, each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--matrix", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--set", action="append", default=[], help="A setting of masks, or of our network.")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    parser.add_argument("--run", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(measure(asked.run, asked)))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    given = [word for word in sys.argv[1:] if word != "--rows" and word not in ROWS]
    for name in asked.rows:
        done = subprocess.run(
            [sys.executable, __file__, *given, "--run", name],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        failed = (done.stderr.strip().splitlines() or ["no word"])[-1]
        found[name] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"missing": failed}
        (asked.out / "peers.json").write_text(json.dumps(found, indent=1))
        print(f"{name}: done", file=sys.stderr, flush=True)
    (asked.out / "peers.md").write_text(table(found) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
