"""Metrics of magnitude images: functions, the table of metrics, and the classes that a user's metric is made of."""

from typing import TYPE_CHECKING

from switchrecon.core.lazy import lazy_names

if TYPE_CHECKING:
    from switchrecon.metrics.lpips import Lpips, load_weights
    from switchrecon.metrics.metrics import nmse, psnr, ssim, ssim_map
    from switchrecon.metrics.table import METRICS, Column, Metric

__all__ = ["METRICS", "Column", "Lpips", "Metric", "load_weights", "nmse", "psnr", "ssim", "ssim_map"]

if not TYPE_CHECKING:  # or type checkers would take any name for one of the package
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "METRICS": "switchrecon.metrics.table",
            "Column": "switchrecon.metrics.table",
            "Lpips": "switchrecon.metrics.lpips",
            "Metric": "switchrecon.metrics.table",
            "load_weights": "switchrecon.metrics.lpips",
            "nmse": "switchrecon.metrics.metrics",
            "psnr": "switchrecon.metrics.metrics",
            "ssim": "switchrecon.metrics.metrics",
            "ssim_map": "switchrecon.metrics.metrics",
        },
    )
