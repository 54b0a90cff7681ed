"""Writes tiny files in the formats of the data sets."""

import json

import numpy as np
import scipy.io


def ntu_text(bodies_by_frame, *, num_joints=25):
    """Return the text of an NTU file; `bodies_by_frame` has a list of (25, 3) arrays for each frame."""
    lines = [str(len(bodies_by_frame))]
    for bodies in bodies_by_frame:
        lines.append(str(len(bodies)))
        for number, joints in enumerate(bodies):
            lines += [f"7205759403793110{number} 0 1 1 1 1 0 0.01 -0.02 2", str(num_joints)]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 257.3 191.5 996.9 497.6 0.1 0.2 0.3 0.9 2" for x, y, z in joints]
    return "\n".join(lines) + "\n"


def write_ntu(path, num_frames=6, num_bodies=1, seed=0):
    random = np.random.default_rng(seed)
    frames = [list(random.normal(0, 1, (num_bodies, 25, 3)) + np.array([0, 0, 3])) for _ in range(num_frames)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ntu_text(frames))
    return np.array(frames, dtype=np.float32)


def write_nw_ucla(path, num_frames=6, seed=0, **changes):
    joints = np.random.default_rng(seed).normal(0, 1, (num_frames, 20, 3)).round(4)
    action = int(path.stem[1:3])
    label = [1, 2, 3, 4, 5, 6, 8, 9, 11, 12].index(action) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"file_name": path.stem, "skeletons": joints.tolist(), "label": label} | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return joints


def write_utd(path, num_frames=6, seed=0):
    joints = np.random.default_rng(seed).normal(0, 1, (20, 3, num_frames))
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"d_skel": joints})
    return joints


def write_sbu(path, num_frames=6, seed=0):
    values = np.random.default_rng(seed).random((num_frames, 90)).round(5)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{180 + t}," + ",".join(f"{v:.5f}" for v in row) for t, row in enumerate(values)]
    path.write_text("\n".join(rows) + "\n")
    return values.reshape(num_frames, 2, 15, 3)


BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 100 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT LeftArm
  {
    OFFSET 10 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    JOINT LeftHand
    {
      OFFSET 20 0 0
      CHANNELS 3 Yrotation Xrotation Zrotation
      End Site
      {
        OFFSET 5 0 0
      }
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.0333333
"""


# All joints have position and rotation channels, LeftHand the rotation first.
BVH_SIX_CHANNELS = BVH.replace(
    "CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
).replace(
    "CHANNELS 3 Yrotation Xrotation Zrotation", "CHANNELS 6 Yrotation Xrotation Zrotation Xposition Yposition Zposition"
)


def write_bvh(path, rows=None, *, head=BVH):
    """Write a BVH file.

    By default three frames: at rest with the hips 100 cm up; moved by (1, 2, 3) cm and rotated by 90 degrees about z;
    at rest with the arm rotated by 90 degrees about y.
    """
    rows = rows or ["0 100 0 0 0 0 0 0 0 0 0 0", "1 102 3 90 0 0 0 0 0 0 0 0", "0 100 0 0 0 0 0 0 90 0 0 0"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "\n".join(rows) + "\n")


def write_npz(path, num_frames=6, *, seed=0, **keys):
    position = np.random.default_rng(seed).normal(0, 1, (num_frames, 3, 3))
    content = {"position": position, "joints": ["hip", "left_hand", "right_hand"], "parents": [-1, 0, 0]} | keys
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in content.items() if value is not ...})
    return position


def write_pku(folder, name, actions, num_frames=40, *, num_bodies=1, seed=0):
    """Write a recording and its label file; `actions` are (action, start, end)."""
    random = np.random.default_rng(seed)
    joints = np.zeros((num_frames, 2, 25, 3))
    joints[:, :num_bodies] = random.normal(0, 1, (num_frames, num_bodies, 25, 3)).round(5)
    (folder / "skeleton").mkdir(parents=True, exist_ok=True)
    rows = [" ".join(f"{x:.5f}" for x in frame.ravel()) for frame in joints]
    (folder / "skeleton" / f"{name}.txt").write_text("\n".join(rows) + "\n")
    (folder / "labels").mkdir(exist_ok=True)
    lines = [f"{action},{start},{end},{2}" for action, start, end in actions]
    (folder / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return joints
