# %% [markdown]
# # Raw data of several coils
#
# A raw scan has k-space of every coil, (slices, coils, H, W), and often a noise scan. switchrecon reads it from
# fastMRI HDF5, ISMRMRD, BART, Siemens, MATLAB and NumPy files. It whitens the coils, compresses them if asked,
# and estimates coil sensitivity maps from the fully sampled centre; then all methods work on one complex image
# per slice.

# %%
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import switchrecon as sr

HERE = Path("tutorial-multicoil")
SIZE, SLICES, COILS = 64, 2, 4
mask = {"kind": "equispaced-fraction-1d", "acceleration": 3, "center_fraction": 0.16}


def switchrecon(*words: object) -> None:
    """Run a command as you would in a terminal."""
    subprocess.run([sys.executable, "-m", "switchrecon", *map(str, words)], check=True)


# %% [markdown]
# ## The files
#
# Synthetic heads inside a ring of coils, each with its noise. Accelerated scans skip lines, and keep the centre,
# which the maps need.

# %%
for folder, subjects in {"full": range(2), "fast": range(2, 5), "test": [5]}.items():
    (HERE / folder).mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        scan = sr.phantom(subject, slices=SLICES, matrix=SIZE, coils=COILS)
        if folder == "fast":
            scan = sr.undersample(scan, **mask)
        np.save(HERE / folder / f"subject{subject}.npy", scan.kspace)

# %% [markdown]
# Raw data come in many formats. `convert` sorts them into another one; here into BART's two files, with which
# `bart` itself works.

# %%
switchrecon("convert", HERE / "test" / "subject5.npy", HERE / "subject5.cfl", "--overwrite")
facts = sr.inspect(HERE / "subject5.cfl")
print({name: facts[name] for name in ("format", "slices", "coils", "matrix")})

# %% [markdown]
# ## Coil sensitivity maps and the encoding operator
#
# You need none of this to train. It shows what is under it: A = sampling · Fourier transform · sensitivities,
# composed with `@`.

# %%
scan = sr.undersample(sr.read(HERE / "test" / "subject5.npy"), **mask)
kspace, sampled = torch.from_numpy(scan.kspace), torch.from_numpy(scan.mask)
centre = round(SIZE * mask["center_fraction"])
maps = torch.stack([sr.physics.espirit(each, (SIZE, centre)) for each in kspace])  # of lines: all rows of the centre
print(maps.shape, maps.dtype)

encoding = sr.physics.Sampling(sampled[:, None]) @ sr.physics.Fourier() @ sr.physics.Sensitivity(maps)
zero_filled = encoding.H(kspace)
parallel = sr.physics.sense(encoding, zero_filled, 1e-3)  # CG-SENSE: no learning at all

# %% [markdown]
# ## Train
#
# `joint` learns from both piles. `self-supervised` needs the accelerated scans alone: there is a fully sampled
# scan of nobody.

# %%
run = sr.train(
    full=HERE / "full",
    sub=HERE / "fast",
    out=HERE / "run",
    mask=mask,
    steps=60,
    cascades=2,
    unet_width=8,
    progress=False,
)
images = run.reconstruct(scan)  # estimates the maps itself, as in training

# %% [markdown]
# ## Compare
#
# The reference is the combination of the fully sampled coils with the same maps.

# %%
full = torch.from_numpy(sr.read(HERE / "test" / "subject5.npy").kspace)
reference = (maps.conj() * sr.physics.inverse_fourier(full)).sum(1).abs().numpy()
for name, image in {"zero-filled": zero_filled, "CG-SENSE": parallel, "joint": images}.items():
    print(f"{name:12} SSIM {sr.metrics.ssim(reference[1], np.abs(np.asarray(image[1]))):.3f}")

# %% [markdown]
# With four coils and this acceleration, CG-SENSE needs no learning, and is ahead of a small network after 60
# steps. Always have such a row: `--method sense` trains its one weight, and `evaluate` takes several runs.
#
# Where a scanner's files carry calibration lines or a noise scan of their own, they are used:
# [files](../formats.md). A head that is larger than the field of view needs two sets of maps, which are not
# supported. **Next**: [a method, network and metric of yours](your-own.py).
