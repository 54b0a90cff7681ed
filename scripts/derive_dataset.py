"""Write a dataset as a camera at its sensor would see it, or without the lower body, to measure what an encoder loses.

    python scripts/derive_dataset.py DATASET OUT --image
    python scripts/derive_dataset.py DATASET OUT --upper-body --classes "draw x" "hand clap"

--image projects 3-D clips to the image of a camera at the origin, which Kinect's positions are relative to; positions
are pixels. --upper-body keeps head, trunk and arms; hips, legs and feet are missing. --classes keeps clips of some
classes. Splits stay.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ulna.core import Clip
from ulna.dataset import Dataset

FOCAL_LENGTH = 1000.0  # pixels
LOWER_BODY = ("hip", "knee", "ankle", "foot")


def in_image(clip: Clip) -> Clip:
    """Project a clip to the image of a camera at the origin that looks along z; y points down in images."""
    depth = np.maximum(clip.position[..., 2:], 0.5)
    image = -FOCAL_LENGTH * clip.position[..., :2] / depth
    image[~clip.visible] = 0
    return replace(clip, position=image.astype(np.float32), units="pixels")


def upper_body(clip: Clip) -> Clip:
    """Remove hips, legs and feet."""
    lower = [any(word in joint for word in LOWER_BODY) for joint in clip.skeleton.joints]
    visible = clip.visible & ~np.array(lower)
    return replace(clip, position=np.where(visible[..., None], clip.position, 0), visible=visible)


def main() -> None:
    """Write the dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--image", action="store_true")
    parser.add_argument("--upper-body", action="store_true")
    parser.add_argument("--classes", nargs="*", default=[])
    options = parser.parse_args()
    dataset = Dataset(options.dataset)
    clips = [dataset.clip(i) for i in range(dataset.num_clips)]
    if options.classes:
        clips = [clip for clip in clips if clip.label in options.classes]
    if options.upper_body:
        clips = [upper_body(clip) for clip in clips]
    if options.image:
        clips = [in_image(clip) for clip in clips]
    written = Dataset.write(options.out, clips)
    print(f"{written.path}: {written.num_clips} clips, {written.num_frames:,} frames, {written.dimensions}-D")


if __name__ == "__main__":
    main()
