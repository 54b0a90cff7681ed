"""ulna learns what people do from how their skeletons move, without labels."""

from typing import TYPE_CHECKING

from ulna.core import Clip, Skeleton, get_skeleton, lazy_attributes

__version__ = "0.1.0.dev0"

_ROOMS = ("core", "readers", "data", "inputs", "nn", "encoders", "pretext", "train", "protocols", "analysis", "recipes")
_PUBLIC = {
    "Batch": "ulna.data.batch:Batch",
    "Store": "ulna.data.store:Store",
    "load": "ulna.train.run:load",
    "write_store": "ulna.data.writing:write_store",
} | {room: f"ulna.{room}" for room in _ROOMS}

__all__ = ["Batch", "Clip", "Skeleton", "Store", "get_skeleton", "load", "write_store", *_ROOMS]

if TYPE_CHECKING:
    from ulna import analysis, core, data, encoders, inputs, nn, pretext, protocols, readers, recipes, train
    from ulna.data.batch import Batch
    from ulna.data.store import Store
    from ulna.data.writing import write_store
    from ulna.train.run import load


__getattr__ = lazy_attributes(__name__, _PUBLIC)
