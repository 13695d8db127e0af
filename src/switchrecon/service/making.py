"""From the readouts of a slice or a repetition to messages of images."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.errors import DataError
from switchrecon.physics.coils import root_sum_of_squares
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.reconstruction.files import Look, images_of, ready_scan
from switchrecon.reconstruction.fit import misfit, unlike
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.mrd import scan_of_readouts
from switchrecon.scans.readouts import kinds_of
from switchrecon.scans.scan import Scan, description
from switchrecon.service import messages
from switchrecon.service.answer import Answers
from switchrecon.service.asked import ZERO_FILLED, Answering
from switchrecon.service.collect import Unit
from switchrecon.service.heading import STREAM, Heading
from switchrecon.service.messages import IMAGE
from switchrecon.trust.look import look_of

NO_NETWORK = "zero-filled reconstruction: no network was used"


class Maker:
    """Makes the images of a session.

    Parameters
    ----------
    name, folder
        The run; no folder for zero filling.
    answering
        How images come back.
    heading
        The stream's header; None where it is not readable, so that images alone are passed on.
    device, resize
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.
    """

    def __init__(
        self,
        name: str,
        folder: Path | None,
        answering: Answering,
        heading: Heading | None,
        device: str | None,
        resize: bool,
    ) -> None:
        self.name, self.answering, self.heading = name, answering, heading
        self.reconstructor: Reconstructor | None = None
        self.look: Look | None = None
        if folder is not None and name != ZERO_FILLED:
            self.reconstructor = Reconstructor.load(folder, resize=resize, device=device)
            if answering.series == "all":
                self.look = look_of(folder, self.reconstructor, False, False)
        self._answers: Answers | None = None
        self._after = 0
        self._told: set[str] = set()

    @property
    def needs_whole_series(self) -> bool:
        """Whether slices of a repetition are compressed to virtual coils together."""
        return self.reconstructor is not None and self.reconstructor.config.coils is not None

    def pass_on(self, content: bytes) -> None:
        """Note an image of the client, which goes back as it is."""
        head = np.frombuffer(content[2 : 2 + IMAGE.itemsize], IMAGE)[0]
        self._after = max(self._after, int(head["image_series_index"]))

    def images(self, unit: Unit) -> Iterator[bytes]:
        """Reconstruct.

        Raises
        ------
        DataError
            For readouts that make no image, and scans that are refused.
        """
        assert self.heading is not None
        header = self.heading.header
        scan = scan_of_readouts(STREAM, header, unit.readouts)
        space = self._space(unit)
        if self._answers is None:
            weights = "" if self.reconstructor is None else self.reconstructor.card.weights_sha256
            encoding = header.encodings[space]
            self._answers = Answers(self.answering, header, encoding, self.name, weights, self._after)
        if self.reconstructor is None:
            yield from self._zero_filled(scan, unit, NO_NETWORK)
            return
        problem = misfit(self.reconstructor, scan)
        if not problem:
            for sentence in unlike(self.reconstructor.card, scan):
                kind = re.sub(r"[\d.]+", "", sentence)  # repetitions differ in their numbers
                if kind not in self._told:
                    self._told.add(kind)
                    yield messages.text(f"WRN {sentence.removeprefix('warning: ')}")
            ready = ready_scan(self.reconstructor, scan)
            made = images_of(self.reconstructor, ready, self.answering.series == "all", self.look)
            yield from self._answers.messages(scan, unit, made.image, made.maps, description(scan), self.name)
            return
        told = f"outside what run '{self.name}' was trained for: {problem}"
        if self.answering.outside == "refuse":
            raise DataError(f"{STREAM}: {told}; no image is made (--outside zero-filled would send zero-filled images)")
        yield messages.text(f"WRN {told}; zero-filled images are sent")
        yield from self._zero_filled(scan, unit, f"{NO_NETWORK}; {told}")

    def _zero_filled(self, scan: Scan, unit: Unit, said: str) -> Iterator[bytes]:
        """The root sum of squares of the coils' images, of what was measured alone."""
        assert self._answers is not None
        coils = inverse_fourier(torch.from_numpy(scan.kspace))
        image = coils[:, 0] if scan.coils == 1 else root_sum_of_squares(coils)
        shown = replace(scan, maps=None)
        yield from self._answers.messages(shown, unit, image.numpy(), [], said, ZERO_FILLED)

    def _space(self, unit: Unit) -> int:
        head = unit.readouts.head
        imaging = np.flatnonzero(kinds_of(head, False) == "imaging")
        return int(head["encoding_space_ref"][imaging[0] if len(imaging) else 0])
