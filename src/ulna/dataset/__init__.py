"""Datasets: write, prepare, open and verify them; splits, label subsets, and the sample dataset."""

from ulna.dataset.assembling import assemble, join_clips
from ulna.dataset.copies import exact_copies, is_among, overlapping
from ulna.dataset.dataset import Dataset
from ulna.dataset.description import DatasetError
from ulna.dataset.label_subsets import label_subset
from ulna.dataset.preparing import prepare
from ulna.dataset.sample import write_sample_dataset
from ulna.dataset.windows import Windows

__all__ = [
    "Dataset",
    "DatasetError",
    "Windows",
    "assemble",
    "exact_copies",
    "is_among",
    "join_clips",
    "label_subset",
    "overlapping",
    "prepare",
    "write_sample_dataset",
]  # fmt: skip
