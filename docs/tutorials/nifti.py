# %% [markdown]
# # Your NIfTI scans
#
# You have magnitude images in NIfTI, some of patients who were scanned fully and some of others who were not, or
# a set of scans to try the idea on. This takes a minute on a laptop. It makes its data: synthetic heads in the
# place of your files.
#
# A NIfTI file holds magnitudes. Their k-space has to be computed, and is conjugate symmetric, which no scanner
# offers. **Every figure that you get this way is too good.** Use it to learn the tool and to compare methods, not
# to promise anything about a scanner.

# %%
from pathlib import Path

import nibabel as nib
import numpy as np

import switchrecon as sr

HERE = Path("tutorial-nifti")
SIZE, SLICES = 64, 4  # small, so that this takes seconds; your scans may have any size

# %% [markdown]
# ## The files
#
# Three folders, as you would have them: two piles to learn from, and a test. **Different subjects in each**: a
# subject is what a BIDS or IXI name says (`sub-01_T2w.nii.gz`, `IXI002-Guys-0828-T2.nii.gz`), else the file's
# name.


# %%
def write_head(subject: int, folder: str) -> None:
    """A synthetic head as NIfTI, (x, y, z), with voxels of 3 x 3 x 5 mm."""
    scan = sr.phantom(subject, slices=SLICES, matrix=SIZE)
    kspace = np.fft.ifftshift(scan.kspace[:, 0], axes=(-2, -1))
    image = np.abs(np.fft.fftshift(np.fft.ifft2(kspace, norm="ortho"), axes=(-2, -1)))
    (HERE / folder).mkdir(parents=True, exist_ok=True)
    volume = nib.Nifti1Image(image.transpose(2, 1, 0).astype(np.float32), np.diag([3.0, 3.0, 5.0, 1.0]))
    nib.save(volume, HERE / folder / f"sub-{subject:02d}_T2w.nii.gz")


for subject in range(7):
    write_head(subject, "full" if subject < 3 else "fast" if subject < 6 else "test")

# %% [markdown]
# What is in a file? `sr.inspect` says it, and says nothing of the patient. On the command line: `switchrecon
# inspect FILE`.

# %%
facts = sr.inspect(HERE / "test" / "sub-06_T2w.nii.gz")
print({name: facts[name] for name in ("format", "slices", "matrix", "synthetic")})

# %% [markdown]
# ## Train
#
# The scans in `fast` are fully sampled, so they are undersampled for the training: the settings of `mask` say
# how. `phase="smooth"` gives each slice a smooth random phase, which takes most of the unearned help of conjugate
# symmetry away.
#
# `joint` is the default and what we recommend. 100 steps of a small network show that it works; a real training
# takes thousands, or a time: `sr.train(…, budget=1800)` for half an hour.

# %%
mask = {"kind": "random-1d", "acceleration": 4, "center_fraction": 0.08}
run = sr.train(
    full=HERE / "full",
    sub=HERE / "fast",
    out=HERE / "run",
    mask=mask,
    phase="smooth",
    steps=100,
    cascades=2,
    unet_width=8,
    progress=False,
)

# %% [markdown]
# ## How good is it?
#
# The test scans are undersampled with the run's masks, reconstructed, and compared with the truth. `zero-filled`
# is what you would have without any of this.

# %%
found = sr.evaluate(run, HERE / "test", out=HERE / "evaluation")
for method in found.methods:
    psnr, ssim = (found.value(method, metric).mean for metric in ("psnr", "ssim"))
    print(f"{method:14} {psnr:.2f} dB   SSIM {ssim:.3f}")

# %% [markdown]
# With one test subject, these numbers say little about the next one. Look at the images: `switchrecon view
# tutorial-nifti/evaluation`, or make a page of it with `switchrecon report tutorial-nifti/evaluation`.
#
# ## Reconstruct
#
# `reconstruct` takes an undersampled scan and gives its images. NIfTI holds no k-space, so that a NIfTI scan is
# undersampled first:

# %%
scan = sr.undersample(sr.read(HERE / "test" / "sub-06_T2w.nii.gz", phase="smooth"), **mask)
images = run.reconstruct(scan)
print(images.shape, images.dtype)

# %% [markdown]
# The command does the same with files, and writes NIfTI with the geometry of the source:
#
# ```
# switchrecon reconstruct tutorial-nifti/run tutorial-nifti/test --out images --undersample run
# ```
#
# **Next**: [complex k-space](fastmri.py), where figures mean more. [All formats](../how-to/own-data.md).
