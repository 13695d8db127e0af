# %% [markdown]
# # Complex k-space, as in fastMRI
#
# The files of fastMRI are HDF5: `kspace`, complex, (slices, H, W) for one coil, and, where the scan is
# accelerated, `mask`. This is the most honest kind of data: nothing is computed from magnitudes, and a sample
# that was not measured is not there.
#
# The data of this tutorial are synthetic heads with a phase, so that it needs no download. With yours, only the
# paths change.

# %%
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
import torch

import switchrecon as sr

HERE = Path("tutorial-fastmri")
SIZE, SLICES = 64, 4

# %% [markdown]
# ## The files
#
# A head with a smooth phase. Accelerated scans get their mask once, here, as the scanner would: then nobody can
# cheat.


# %%
def complex_kspace(subject: int) -> np.ndarray:
    """K-space (slices, H, W) of a head whose phase turns by about a half turn across it."""
    image = sr.physics.inverse_fourier(torch.from_numpy(sr.phantom(subject, slices=SLICES, matrix=SIZE).kspace[:, 0]))
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    phase = 2 * rows + 3 * columns**2 + 0.3 * subject
    return sr.physics.Fourier()(image * torch.from_numpy(np.exp(1j * phase)).to(image.dtype)).numpy()


def write(subject: int, folder: str, accelerated: bool) -> Path:
    """A file in the layout of fastMRI's single-coil scans; the mask has (W,) entries."""
    path = HERE / folder / f"file{subject:04d}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    kspace = complex_kspace(subject)
    with h5py.File(path, "w") as file:
        if accelerated:
            lines = sr.mask(SIZE, name=path.stem, kind="random-1d", acceleration=4)[0]
            kspace = np.where(lines, kspace, 0)
            file["mask"] = lines.astype(np.float32)
        file["kspace"] = kspace.astype(np.complex64)
        file.attrs["patient_id"] = f"patient {subject}"  # who was scanned: no subject may be in two piles
    return path


for subject in range(3):
    write(subject, "full", accelerated=False)
for subject in range(3, 6):
    write(subject, "fast", accelerated=True)
reference = write(6, "test", accelerated=False)

# %%
facts = sr.inspect(HERE / "fast" / "file0003.h5")
print({name: facts[name] for name in ("format", "slices", "matrix", "coils", "acceleration")})

# %% [markdown]
# ## Are the two piles alike?
#
# An adversarial method learns *every* difference between the piles, also that of two scanners. `switchrecon
# compare-domains --full tutorial-fastmri/full --sub tutorial-fastmri/fast --out piles` tests it before any
# training.
#
# ## Train
#
# The accelerated scans are used as they are: no sample is ever added to them. The masks of `joint`'s simulated
# pairs are those of the accelerated scans. `mask` below is only for fully sampled scans that have to be
# undersampled, as in the evaluation.

# %%
mask = {"kind": "random-1d", "acceleration": 4}
run = sr.train(
    full=HERE / "full",
    sub=HERE / "fast",
    out=HERE / "run",
    mask=mask,
    steps=100,
    cascades=2,
    unet_width=8,
    progress=False,
)
found = sr.evaluate(run, reference, out=HERE / "evaluation")
print({name: round(found.value(name, "psnr").mean, 2) for name in found.methods})

# %% [markdown]
# ## What was measured, and what was invented?
#
# Samples that were not measured come from the network. With one coil, the part of the image that lies there is
# exactly `invented`. It is not the error: it is what you have to take the network's word for.

# %%
scan = sr.undersample(sr.read(reference), **mask)
reconstruct = run.reconstructor(data_consistency="hard")  # measured samples stay as they were measured
images = reconstruct(scan.kspace[:, 0], scan.mask)
samples = sr.physics.Fourier()(torch.from_numpy(images)).numpy()
difference = np.abs(samples - scan.kspace[:, 0])[scan.mask].max() / np.abs(scan.kspace).max()
print(f"measured samples are kept to {difference:.0e} of the largest")

explained = reconstruct.explain(scan.kspace[:, 0], scan.mask)
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
zero_filled = sr.physics.inverse_fourier(torch.from_numpy(scan.kspace[1, 0]))
for axis, (title, image) in zip(
    axes,
    {"zero-filled": zero_filled, "reconstructed": images[1], "invented": explained.invented[1]}.items(),
    strict=True,
):
    axis.imshow(np.abs(np.asarray(image)), cmap="gray")
    axis.set_title(title)
    axis.axis("off")
figure.savefig(HERE / "invented.png")

# %% [markdown]
# `switchrecon reconstruct` writes `invented` beside every image, and `--trust` adds what the scan itself can say
# about the error: [trust](../trust.md). **Next**: [several coils](multicoil.py).
