# %% [markdown]
# # A method, a network and a metric of yours
#
# Each is a Python file of yours; the package is not edited. You name it as `FILE.py:NAME`. The file is run, so
# that you should use only files that you trust.

# %%
from pathlib import Path

import switchrecon as sr

HERE = Path("tutorial-your-own")
HERE.mkdir(exist_ok=True)
full = [sr.phantom(subject, slices=2) for subject in range(3)]
sub = [sr.undersample(sr.phantom(subject, slices=2), acceleration=4) for subject in range(3, 6)]
test = [sr.phantom(6, slices=2)]

# %% [markdown]
# ## A network
#
# It is called with all settings and gives a module that maps images (B, channels, H, W) to images; complex ones
# have two channels. This one sees no physics, so that it is wrapped into cascades: after each, measured samples
# are put back.

# %%
(HERE / "network.py").write_text('''
from torch import nn

from switchrecon.nets.unrolled import Unrolled


class Residual(nn.Module):
    """Two convolutions that estimate the aliasing; it is subtracted."""

    def __init__(self, config):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(config.channels, config.width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.width, config.channels, 3, padding=1),
        )

    def forward(self, image):
        return image - self.body(image)


def cascades(config):
    return Unrolled([Residual(config) for _ in range(3)], cascades=3)
''')

# %% [markdown]
# ## A method
#
# A method is data: who plays, and what each update minimises. The nearest one is a good start. Here `joint` gets
# one more objective: dark places of x should stay dark.

# %%
(HERE / "method.py").write_text('''
from switchrecon.methods import GENERATOR, JOINT
from switchrecon.objectives import l1


def background(step):
    """The mean magnitude of G(x) where x is dark."""
    return l1(step.full_of_x * (step.x.abs() < 0.01))


CAREFUL = JOINT.adding(GENERATOR, {background: 0.1})
''')

# %% [markdown]
# ## A metric
#
# It gets magnitudes (H, W) of the reference and the reconstruction, and the data range.

# %%
(HERE / "metric.py").write_text('''
import numpy as np

from switchrecon.metrics import Column, Metric


def worst(reference, image, maximum):
    """The largest error, as a part of the data range."""
    return np.abs(reference - image).max() / maximum


WORST = Metric(Column("worst", "Worst pixel", better="lower", digits=3), worst)
''')

# %% [markdown]
# ## Together
#
# In Python as on the command line: `switchrecon train --method method.py:CAREFUL --set
# network=network.py:cascades …`, `switchrecon evaluate … --metric metric.py:WORST`.
#
# The optimiser and the rate are those of the paper's networks unless you say something else. A network that knows
# the measured samples learns with far larger steps.

# %%
run = sr.train(
    full=full,
    sub=sub,
    out=HERE / "run",
    method=str(HERE / "method.py:CAREFUL"),
    network=str(HERE / "network.py:cascades"),
    width=8,
    steps=60,
    optimizer="adamw",
    learning_rate=1e-2,
    progress=False,
)
print("objectives:", ", ".join(run.log[-1]["losses"]))
found = sr.evaluate(run, test, metrics=[str(HERE / "metric.py:WORST")])
for method in found.methods:
    print(f"{method:16} {found.value(method, 'psnr').mean:.2f} dB, worst pixel {found.value(method, 'worst').mean:.3f}")

# %% [markdown]
# The run keeps the SHA-256 of each file, and a copy of the network. On another machine, or after the file has
# changed, opening the run is refused unless you say `--trust-code`.
#
# More: [method](../how-to/method.md), [network](../how-to/network.md), [metric](../how-to/metric.md),
# [mask](../how-to/mask.md), [file format](../how-to/format.md). **Next**: [a grid on a cluster](cluster.py).
