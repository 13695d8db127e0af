"""Watch a run while it trains: a score from draws that it never learns from, and a picture of one slice.

No weight and no draw of the training depends on them.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from switchrecon.core.pictures import save_row
from switchrecon.methods.players import Generators
from switchrecon.methods.step import Batch
from switchrecon.metrics.metrics import psnr
from switchrecon.physics.intensity import channels_to_complex, from_network
from switchrecon.physics.measured import invented_part, noise_levels
from switchrecon.runs.scores import Score, Scores
from switchrecon.training.batches import Batches
from switchrecon.training.state import State

PART = 0.03  # largest fraction of the training time
SLICES = 4  # slices for a score
ENLARGED = 3.0  # factor by which the invented part is brightened
PICTURE, KEPT = "progress.png", "progress"


class Sparing:
    """Allows work as long as it takes at most a fraction of the time.

    Parameters
    ----------
    part
        Fraction of the time.
    clock
        Function that returns seconds.
    """

    def __init__(self, part: float = PART, clock: Callable[[], float] = time.monotonic) -> None:
        self.part, self.clock = part, clock
        self.started = clock()
        self.spent, self.latest = 0.0, 0.0

    def allows(self, guess: float = 0.0, times: int = 1) -> bool:
        """Return whether so many pieces of work, each as long as the latest, keep to the part.

        Before the first piece, ``guess`` says how long one is.
        """
        return self.spent + times * (self.latest or guess) <= self.part * (self.clock() - self.started)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count the time of the block."""
        began = self.clock()
        try:
            yield
        finally:
            self.latest = self.clock() - began
            self.spent += self.latest


class Watch:
    """Scores a run and draws ``progress.png`` now and then, in at most :data:`PART` of the time.

    The picture shows x, G(x) and the invented part of G(x), always of the same slice. Each time the number of steps has
    doubled, a copy is kept in the folder ``progress``.

    Parameters
    ----------
    folder
        Folder of the run.
    state
        State of the training; its values at each call of :meth:`look` are used.
    batches
        Source of batches; those after the last step are used for scores.
    sparing
        Decides whether there is time for a score.
    """

    def __init__(self, folder: Path, state: State, batches: Batches, sparing: Sparing | None = None) -> None:
        self.folder, self.state, self.batches = folder, state, batches
        self.sparing = sparing or Sparing()
        self.scores = Scores(folder, state.step)
        self.first, self.kept = state.step, 0
        self.representation = batches.config.representation
        self.draws: list[Batch] | None = None

    @property
    def quality(self) -> str:
        """How good the run is now, in a few words."""
        return self.scores.known[-1].quality if self.scores.known else ""

    def rewind(self, step: int) -> None:
        """Forget scores and pictures after a step."""
        self.scores.rewind(step)

    def look(self, seconds: float, last: bool) -> None:
        """Score the run and draw the picture if there is time for that; some is kept for the last step.

        Parameters
        ----------
        seconds
            Training time, for the score.
        last
            Whether this is after the last step.
        """
        a_step = (self.sparing.clock() - self.sparing.started) / max(self.state.step - self.first, 1)
        if self.sparing.allows(a_step * SLICES / 2, 1 if last else 2):  # one is kept for the last step
            with self.sparing.work(), torch.no_grad():
                self.scores.add(self.score(seconds))
                self.draw()

    def score(self, seconds: float) -> Score:
        """Return how good the run is at present."""
        if self.draws is None:
            count = max(1, SLICES // self.batches.config.batch_size)
            self.draws = [self.batches.batch(self.batches.steps + number) for number in range(count)]
        generator, pairs, held_out = self._generator(), [], []
        for batch in self.draws:
            if self.batches.data.full is not None:
                pairs += self._pairs(generator, batch)
            if self.batches.data.sub is not None and self.representation == "complex":
                held_out += self._held_out(generator, batch)
        run, zero_filling = (_mean([pair[place] for pair in pairs]) for place in (0, 1))
        errors = [sum(error[place] for error in held_out) for place in (0, 1)]
        gain = 10 * math.log10(errors[1] / errors[0]) if held_out and min(errors) > 0 else math.nan
        return Score(self.state.step, round(seconds, 3), run, zero_filling, _mean([gain] if held_out else []))

    def draw(self) -> None:
        """Draw the picture."""
        assert self.draws is not None
        batch = self.draws[0]
        encoding = batch.encoding_x[:1]
        made = from_network(self._generator().to_full(batch.x[:1], encoding), self.representation)
        sigma = noise_levels(batch.measured[:1], encoding) if batch.measured is not None else torch.full((1,), math.nan)
        whole = made if made.is_complex() else made.to(torch.complex64)
        invented = invented_part(encoding, whole, sigma.to(made.device))
        shown = [from_network(batch.x[:1], self.representation), made, invented * ENLARGED]
        panels = [image[0].abs().cpu().numpy() for image in shown]
        captions = ["x, zero-filled", f"G(x), step {self.state.step:,}", f"invented, {ENLARGED:g} times"]
        files = [self.folder / PICTURE]
        if self.state.step >= 2 * self.kept or self.state.step == self.batches.steps:
            self.kept = self.state.step
            files.append(self.folder / KEPT / f"{self.state.step:08d}.png")
        for file in files:
            save_row(file, panels, captions)

    def _generator(self) -> Generators:
        """G with the weights that would be stored now."""
        averaged = self.state.average.averaged.module if self.state.average.count else self.state.players.generator
        return cast("Generators", averaged)

    def _pairs(self, generator: Generators, batch: Batch) -> list[tuple[float, float]]:
        """PSNR of the run and of zero filling, by slice."""
        image, encoding, reference = batch.x, batch.encoding_x, batch.y
        if self.batches.pairing == "unpaired":
            assert batch.draws is not None
            image, encoding, reference = batch.draws.pair()
        truth, made, x = (
            from_network(each, self.representation).abs().cpu().numpy()
            for each in (reference, generator.to_full(image, encoding), image)
        )
        return [(psnr(t, m), psnr(t, each)) for t, m, each in zip(truth, made, x, strict=True)]

    def _held_out(self, generator: Generators, batch: Batch) -> list[tuple[float, float]]:
        """Weighted energy of the errors at held-out samples: of the run, and of zero filling."""
        assert batch.draws is not None
        assert batch.measured is not None
        image, kept, weight = batch.draws.split()
        measured = batch.measured

        def error(image: Tensor) -> float:
            difference = batch.encoding_x(channels_to_complex(image)) - measured
            return float((weight[:, None] * difference.abs().square()).sum())

        return [(error(generator.to_full(image, kept)), error(image))]


def _mean(values: list[float]) -> float | None:
    found = float(np.mean(values)) if values else math.nan
    return round(found, 3) if math.isfinite(found) else None
