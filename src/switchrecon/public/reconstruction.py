"""Reconstruction from Python: images alone, or with maps of the invented part and of doubt."""

from typing import Any

import numpy as np

from switchrecon.reconstruction import reconstructor
from switchrecon.trust.doubt import PASSES
from switchrecon.trust.result import as_arrays, result_of


class Reconstructor(reconstructor.Reconstructor):
    """A trained reconstruction: ``image = reconstruct(kspace, mask)``; with ``doubt=8`` also how sure it is.

    :meth:`load` makes one from a run.
    """

    def __call__(self, kspace: Any, mask: Any, maps: Any = None, doubt: int | bool = False) -> Any:
        """Reconstruct images.

        Parameters
        ----------
        kspace, mask, maps
            NumPy arrays or torch tensors; see :meth:`switchrecon.reconstruction.reconstructor.Reconstructor.__call__`.
        doubt
            Number of further reconstructions that measure how sure the image is; True: 8. The promise of a calibrated
            run holds for the number that it was calibrated with.

        Returns
        -------
        numpy.ndarray, torch.Tensor or Result
            Without ``doubt`` the image alone. With it :class:`switchrecon.trust.result.Result`: ``image``,
            ``invented``, ``doubt``, ``residual``, ``held_out``, and the promise.

        Raises
        ------
        DataError
            As without ``doubt``, or if the number of passes is below 1.
        RunError
            If the calibration is damaged, or belongs to another run.
        """
        if doubt is False:
            return super().__call__(kspace, mask, maps)
        found = self.explain(kspace, mask, maps)
        measured, encoding = self.checked(kspace, mask, maps)
        result = result_of(self, found, measured, encoding, PASSES if doubt is True else doubt)
        return as_arrays(result) if isinstance(kspace, np.ndarray) else result
