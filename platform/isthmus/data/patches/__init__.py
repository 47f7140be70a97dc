"""Patches cut out of images of any size: at random places to train on, at fixed ones to judge by.

`whole_images` keeps the images, each once; `cutting` says where patches lie and cuts them out;
`training` holds those of training, whose places are drawn anew in each epoch; `splitting` decides
by image which are trained on.
"""

from isthmus.data.patches.cutting import fixed_patches
from isthmus.data.patches.splitting import PatchSplit, split_patches
from isthmus.data.patches.training import TrainingPatches
from isthmus.data.patches.whole_images import WholeImages, read_images

__all__ = [
    "PatchSplit",
    "TrainingPatches",
    "WholeImages",
    "fixed_patches",
    "read_images",
    "split_patches",
]
