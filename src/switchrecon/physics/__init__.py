"""Fourier transforms, operators that are composed with ``@``, coil sensitivity maps, masks and classical solvers."""

from typing import TYPE_CHECKING

from switchrecon.core.lazy import lazy_names

if TYPE_CHECKING:
    from switchrecon.physics.coil_maps import espirit, walsh
    from switchrecon.physics.coils import compress_coils, root_sum_of_squares, whiten
    from switchrecon.physics.consistency import data_consistency
    from switchrecon.physics.fourier import inverse_fourier, resize_kspace
    from switchrecon.physics.masks import draw_mask, infer_mask, measured_acceleration
    from switchrecon.physics.operators import Encoding, Fourier, Sampling, Sensitivity
    from switchrecon.physics.solvers import conjugate_gradient, sense, total_variation

__all__ = [
    "Encoding",
    "Fourier",
    "Sampling",
    "Sensitivity",
    "compress_coils",
    "conjugate_gradient",
    "data_consistency",
    "draw_mask",
    "espirit",
    "infer_mask",
    "inverse_fourier",
    "measured_acceleration",
    "resize_kspace",
    "root_sum_of_squares",
    "sense",
    "total_variation",
    "walsh",
    "whiten",
]

if not TYPE_CHECKING:  # or type checkers would take any name for one of the package
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Encoding": "switchrecon.physics.operators",
            "Fourier": "switchrecon.physics.operators",
            "Sampling": "switchrecon.physics.operators",
            "Sensitivity": "switchrecon.physics.operators",
            "compress_coils": "switchrecon.physics.coils",
            "conjugate_gradient": "switchrecon.physics.solvers",
            "data_consistency": "switchrecon.physics.consistency",
            "draw_mask": "switchrecon.physics.masks",
            "espirit": "switchrecon.physics.coil_maps",
            "infer_mask": "switchrecon.physics.masks",
            "inverse_fourier": "switchrecon.physics.fourier",
            "measured_acceleration": "switchrecon.physics.masks",
            "resize_kspace": "switchrecon.physics.fourier",
            "root_sum_of_squares": "switchrecon.physics.coils",
            "sense": "switchrecon.physics.solvers",
            "total_variation": "switchrecon.physics.solvers",
            "walsh": "switchrecon.physics.coil_maps",
            "whiten": "switchrecon.physics.coils",
        },
    )
