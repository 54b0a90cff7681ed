"""ulna pose VIDEO... --out FOLDER"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from ulna.cli.options import Files, run
from ulna.core import InputError, MissingError, check_range, refuse_existing, write_text

Keypoints = Literal["body", "body_with_feet", "wholebody"]
CLASSES = {"body": "Body", "body_with_feet": "BodyWithFeet", "wholebody": "Wholebody"}


def pose(
    videos: Files,
    /,
    *,
    out: Path,
    keypoints: Keypoints = "body",
    mode: Literal["lightweight", "balanced", "performance"] = "balanced",
    device: str = "cpu",
    max_jump: float = 0.5,
    max_gap: int = 30,
) -> None:
    """Estimate the poses of all people in videos with rtmlib (RTMPose), for `ulna prepare mmpose`.

    Needs `pip install 'ulna[pose]'`; rtmlib downloads the weights of its networks at first use. Writes one JSON file
    per video, and prints its frame rate; pass it to `ulna prepare` with --fps.

    Args:
        videos: Video files.
        out: Folder to write VIDEO.json into; files must not exist.
        keypoints: "body" (COCO, 17), "body_with_feet" (Halpe, 26) or "wholebody" (COCO-WholeBody, 133).
        mode: RTMPose model size.
        device: Device of onnxruntime: "cpu", "cuda" or "mps".
        max_jump: Largest mean distance that one person's joints move between frames, relative to the person's
            size (bounding-box diagonal).
        max_gap: Number of frames after which an undetected person gets a new id.
    """
    check_range("max_jump", max_jump, 0, open_low=True)
    check_range("max_gap", max_gap, 1)
    if not videos:
        raise InputError("expected at least one video, found none")
    paths = [out / f"{video.stem}.json" for video in videos]
    if len(set(paths)) < len(paths):
        raise InputError("expected videos of different names, found duplicate names")
    for video, path in zip(videos, paths, strict=True):
        if not video.is_file():
            raise MissingError(f"{video}: expected a video, found nothing. Check the path.")
        refuse_existing(path)
    estimate = _estimator(keypoints, mode, device)
    for video, path in zip(videos, paths, strict=True):
        frames, fps = _estimate(video, estimate, max_jump, max_gap)
        write_text(path, json.dumps(frames))
        people = len({one["track_id"] for frame in frames for one in frame["instances"]})
        print(f"{path}: {len(frames):,} frames, {people} people; ulna prepare mmpose {out} DATASET --fps {fps:g}")


def _estimator(keypoints: str, mode: str, device: str) -> Any:
    try:
        import rtmlib
    except ImportError:
        raise MissingError("expected the library rtmlib, found none. Install it: pip install 'ulna[pose]'") from None
    return getattr(rtmlib, CLASSES[keypoints])(mode=mode, backend="onnxruntime", device=device)


def _estimate(video: Path, estimate: Any, max_jump: float, max_gap: int) -> tuple[list[dict[str, Any]], float]:
    """Return the persons of each frame in the form of MMPose, with track ids, and the frame rate."""
    from ulna.formats.linking import link

    frames: list[list[tuple[np.ndarray, np.ndarray]]] = []
    images, fps, total = _frames(video)
    for image in tqdm(images, video.name, total=total or None, unit="frame"):
        joints, scores = estimate(image)
        frames.append(list(zip(np.asarray(joints, float), np.asarray(scores, float), strict=True)))
    if not frames:
        raise InputError(f"{video}: expected a video that can be decoded, found none")
    tracks = link([[joints for joints, _ in frame] for frame in frames], max_jump=max_jump, max_gap=max_gap)
    content = [
        {
            "frame_id": number,
            "instances": [
                {"keypoints": joints.tolist(), "keypoint_scores": scores.tolist(), "track_id": int(track)}
                for (joints, scores), track in zip(frame, names, strict=True)
            ],
        }
        for number, (frame, names) in enumerate(zip(frames, tracks, strict=True))
    ]
    return content, fps


def _frames(video: Path) -> tuple[Iterator[np.ndarray], float, int]:
    """Return the images of a video, its frame rate and the number of frames that it states."""
    try:
        import cv2
    except ImportError:
        raise MissingError("expected the library OpenCV, found none. Install it: pip install 'ulna[pose]'") from None
    capture = cv2.VideoCapture(str(video))
    if not capture.isOpened():
        raise InputError(f"{video}: expected a video that can be decoded, could not open it")
    fps = capture.get(cv2.CAP_PROP_FPS) or 30.0

    def images() -> Iterator[np.ndarray]:
        while True:
            is_read, image = capture.read()
            if not is_read:
                capture.release()
                return
            yield image

    return images(), float(fps), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(pose, arguments, prog="pose")
