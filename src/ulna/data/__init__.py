"""Floor 2: stores, packed batches, the batch plan, batched transforms."""

from typing import TYPE_CHECKING

from ulna.core import lazy_attributes

_PUBLIC = {
    "Augmentation": "ulna.data.transforms:Augmentation",
    "BadStore": "ulna.data.store:BadStore",
    "Batch": "ulna.data.batch:Batch",
    "BatchPlan": "ulna.data.plan:BatchPlan",
    "Packing": "ulna.data.packing:Packing",
    "Store": "ulna.data.store:Store",
    "ClipLoader": "ulna.data.loading:ClipLoader",
    "load_batch": "ulna.data.loading:load_batch",
    "prepare": "ulna.data.preparing:prepare",
    "write_store": "ulna.data.writing:write_store",
}
__all__ = [
    "Augmentation", "BadStore", "Batch", "BatchPlan", "ClipLoader", "Packing", "Store", "load_batch", "prepare",
    "write_store",
]  # fmt: skip

if TYPE_CHECKING:
    from ulna.data.batch import Batch
    from ulna.data.loading import ClipLoader, load_batch
    from ulna.data.packing import Packing
    from ulna.data.plan import BatchPlan
    from ulna.data.preparing import prepare
    from ulna.data.store import BadStore, Store
    from ulna.data.transforms import Augmentation
    from ulna.data.writing import write_store


__getattr__ = lazy_attributes(__name__, _PUBLIC)
