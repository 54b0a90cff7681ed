"""Northwestern-UCLA Multiview Action 3D: the JSON skeleton release."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ulna.core import Clip, get_skeleton, visible_from_zeros
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files, read_json, train_or_test

NAME = re.compile(r"a([0-9]{2})_s([0-9]{2})_e([0-9]{2})_v([0-9]{2})")
ACTIONS = {
    1: "pick up with one hand", 2: "pick up with two hands", 3: "drop trash", 4: "walk around", 5: "sit down",
    6: "stand up", 8: "donning", 9: "doffing", 11: "throw", 12: "carry",
}  # fmt: skip
LEAKED = (2, 3)


class NWUCLA(Format):
    """Reads `aAA_sSS_eEE_vVV.json` files, `{"file_name", "skeletons": [T][20][3], "label"}`: Kinect v1, metres, y up.

    Splits: `xview` (train on views 1 and 2, test on 3), `xview-dev` (train on view 1, validate on 2), `clean` (xview
    without the test clips of a02 and a03, which are copies of training clips in the commonly used files).
    """

    title = "Northwestern-UCLA Multiview Action 3D (10 classes, 10 subjects, 3 views)"
    pattern = "a[0-9][0-9]_s[0-9][0-9]_e[0-9][0-9]_v[0-9][0-9].json"
    files_wanted = "aAA_sSS_eEE_vVV.json"
    splits = ("xview", "xview-dev", "clean")
    where = "the JSON skeletons linked by CTR-GCN and its derivatives (all_sqe.zip)"
    terms = "no licence stated: research use, cite the paper, do not redistribute"
    cite = "Wang, Nie, Xia, Wu, Zhu: Cross-view action modeling, learning and recognition, CVPR 2014"

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.json", "NW-UCLA skeletons")
        return Source(files, get_skeleton("kinect_v1"), tuple(ACTIONS.values()))

    def read(self, path: Path, source: Source) -> list[Clip]:
        match = NAME.fullmatch(path.stem)
        action = int(match[1]) if match else -1
        if not match or action not in ACTIONS:
            raise BadFileError(path, "file name", expected="aAA_sSS_eEE_vVV.json with a known action", found=path.name)
        content = _load(path)
        label = list(ACTIONS).index(action)
        if content["label"] is True or content["label"] != label + 1:
            raise BadFileError(
                path, "key 'label'", expected=f"{label + 1} (from the name)", found=repr(content["label"])
            )
        position = _positions(path, content["skeletons"], source.skeleton.joints)
        view = int(match[4])
        splits = {"xview": train_or_test(view != 3), "clean": train_or_test(view != 3)}
        if view != 3:
            splits["xview-dev"] = train_or_test(view == 1)
        elif action in LEAKED:
            del splits["clean"]
        return [
            Clip(
                id=path.stem,
                position=position,
                skeleton=source.skeleton,
                visible=visible_from_zeros(position),
                label=source.classes[label],
                subject=int(match[2]),
                view=view,
                splits=splits,
            )
        ]


def _load(path: Path) -> dict[str, object]:
    content = read_json(path)
    keys = set(content) if isinstance(content, dict) else set()
    missing = [key for key in ("skeletons", "label") if key not in keys]
    if missing:
        raise BadFileError(path, "top level", expected=f"key {missing[0]!r}", found=f"keys {sorted(keys)}")
    return dict(content)


def _positions(path: Path, skeletons: object, joints: tuple[str, ...]) -> np.ndarray:
    """Convert nested lists to positions (T, 1, 20, 3) float32."""
    if not isinstance(skeletons, list) or not skeletons:
        raise BadFileError(path, "key 'skeletons'", expected="a list of frames", found="no frame (a clip with no body)")
    try:
        position = np.array(skeletons)
    except ValueError:
        position = np.empty(0)
    if position.dtype.kind not in "fiu" or position.ndim != 3 or position.shape[1:] != (len(joints), 3):
        place, found = _first_wrong(skeletons, len(joints))
        raise BadFileError(path, place, expected=f"{len(joints)} joints of 3 numbers", found=found)
    position = as_float32(path, position[:, None], joints)
    if not position.any():
        raise BadFileError(path, "key 'skeletons'", expected="a body", found="only zeros (a clip with no body)")
    return position


def _first_wrong(skeletons: list[object], num_joints: int) -> tuple[str, str]:
    for t, frame in enumerate(skeletons):
        if not isinstance(frame, list) or len(frame) != num_joints:
            return f"frame {t}", f"{len(frame)} joints" if isinstance(frame, list) else repr(frame)
        for k, joint in enumerate(frame):
            if not (isinstance(joint, list) and len(joint) == 3 and all(type(x) in (int, float) for x in joint)):
                return f"frame {t}, joint {k}", repr(joint)[:80]
    return "key 'skeletons'", "nested lists of another shape"
