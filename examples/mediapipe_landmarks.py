"""Write the body landmarks that MediaPipe finds in videos, for `ulna prepare mediapipe`.

MediaPipe needs an environment of its own, since it wants an older numpy. Version 0.10.21 brings its models along:

    python -m venv mediapipe-env
    mediapipe-env/bin/pip install --no-deps mediapipe==0.10.21
    mediapipe-env/bin/pip install absl-py attrs flatbuffers "protobuf>=4.25,<5" \
        "opencv-python-headless==4.10.0.84" "numpy<2" matplotlib
    mediapipe-env/bin/python examples/mediapipe_landmarks.py VIDEO... --out landmarks
    ulna prepare mediapipe landmarks dataset --fps FPS --window 1 --stride 0.25

Writes one JSON file per video: a list of frames with pose_world_landmarks (metres) and pose_landmarks (shares of the
image's size), empty where nobody is found.
"""

import argparse
import json
from pathlib import Path

import cv2
import mediapipe as mp


def landmarks(found):
    """Return a list of landmarks as JSON values."""
    if found is None:
        return []
    return [{"x": p.x, "y": p.y, "z": p.z, "visibility": p.visibility} for p in found.landmark]


def read_video(path, complexity):
    """Return the frames of a video and its frame rate."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise SystemExit(f"{path}: expected a video that can be decoded, found another file")
    frames = []
    with mp.solutions.pose.Pose(model_complexity=complexity) as pose:
        while True:
            is_read, image = video.read()
            if not is_read:
                return frames, video.get(cv2.CAP_PROP_FPS)
            result = pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            frames.append(
                {
                    "pose_world_landmarks": landmarks(result.pose_world_landmarks),
                    "pose_landmarks": landmarks(result.pose_landmarks),
                }
            )


def main():
    """Read the videos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder to write VIDEO.json into")
    parser.add_argument("--complexity", type=int, default=1, choices=(0, 1, 2), help="size of the network")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.videos:
        frames, fps = read_video(path, options.complexity)
        found = sum(bool(frame["pose_landmarks"]) for frame in frames)
        target = options.out / f"{path.parent.parent.name}_{path.stem}.json"
        target.write_text(json.dumps(frames))
        print(f"{target}: {len(frames)} frames at {fps:g} per second, a body in {found}")


if __name__ == "__main__":
    main()
