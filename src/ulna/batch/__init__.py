"""Packed batches, the batch plan, transforms and augmentation."""

from ulna.batch.augmentation import Augmentation, AugmentationDraw
from ulna.batch.batch import PADDED, Batch
from ulna.batch.loading import ClipLoader, load_batch
from ulna.batch.packing import Packing
from ulna.batch.persons import PersonGroup, PersonSequences, join_clips, join_frames
from ulna.batch.plan import BatchPlan
from ulna.batch.segments import Segments

__all__ = [
    "PADDED", "Augmentation", "AugmentationDraw", "Batch", "BatchPlan", "ClipLoader", "Packing", "PersonGroup",
    "PersonSequences", "Segments", "join_clips", "join_frames", "load_batch",
]  # fmt: skip
