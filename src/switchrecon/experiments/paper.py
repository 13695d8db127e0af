"""The values of the paper's Table 1, and notes on contradictions in the paper."""

from collections.abc import Mapping

INPUT = "zero-filled"
METRICS = ("psnr", "ssim", "lpips")
TABLE_1: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "ixi-x4": {
        INPUT: (19.2744, 0.4547, 0.3617),
        "cyclegan": (24.7792, 0.7941, 0.0978),
        "iscl": (26.8296, 0.8527, 0.0858),
        "iscl-sampling": (27.3390, 0.8563, 0.0889),
        "switchable": (27.4680, 0.8615, 0.0831),
        "supervised": (28.9239, 0.8854, 0.1067),
    },
    "ixi-x6": {
        INPUT: (20.7125, 0.5048, 0.3105),
        "cyclegan": (23.9114, 0.7679, 0.1035),
        "iscl": (25.5770, 0.8211, 0.1016),
        "iscl-sampling": (25.8426, 0.8248, 0.0976),
        "switchable": (26.1560, 0.8325, 0.0949),
        "supervised": (27.1525, 0.8494, 0.1168),
    },
    "fastmri-x4": {
        INPUT: (24.8012, 0.6122, 0.3279),
        "cyclegan": (21.7135, 0.3365, 0.1495),
        "iscl": (25.6968, 0.6309, 0.1350),
        "iscl-sampling": (26.1445, 0.6455, 0.1367),
        "switchable": (26.1797, 0.6689, 0.1090),
        "supervised": (27.3270, 0.6944, 0.1570),
    },
}
"""The values of :data:`METRICS` by experiment and method; PSNR in dB."""

_ALWAYS = (
    "The paper does not define PSNR's data range; slice maximum and volume maximum differ by several dB.",
    "The paper's supervised row learns from all pairs, its unpaired rows from half of the images on each side; neither "
    "uses data consistency.",
    "CycleGAN, which the paper calls failed, has better LPIPS than supervised in all three of its experiments.",
    "Adding the sampling loss to ISCL worsens the paper's LPIPS in two of three experiments; no variances are given.",
    "The paper has no row 'simulated': with a known mask operator, exact pairs can be made from fully sampled images.",
)
_IXI = (
    "In the paper the input's PSNR at ×6 (20.71) is higher than at ×4 (19.27), though less is sampled.",
    "The paper does not name the contrast of its IXI images, nor which slices they are.",
)
FOOTNOTES: Mapping[str, tuple[str, ...]] = {
    "ixi-x4": (*_IXI, *_ALWAYS),
    "ixi-x6": (*_IXI, *_ALWAYS),
    "fastmri-x4": (
        "3,500 slices, 1,500 + 1,500 for training, 500 for testing and five folds do not fit together (500 of 3,500 is "
        "one seventh); the paper does not say whether its folds are of subjects or of slices. Ours are of subjects.",
        "The paper prints a centre fraction of 0.008, three lines of 368; 0.08 is fastMRI's. Both are settings here.",
        *_ALWAYS,
    ),
}
