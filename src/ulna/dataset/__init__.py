"""Datasets: write, prepare, open and verify them; splits, label subsets, and the sample dataset."""

from ulna.dataset.copies import exact_copies, is_among
from ulna.dataset.dataset import Dataset
from ulna.dataset.description import DatasetError
from ulna.dataset.label_subsets import label_subset
from ulna.dataset.preparing import prepare
from ulna.dataset.sample import write_sample_dataset

__all__ = [
    "Dataset", "DatasetError", "exact_copies", "is_among", "label_subset", "prepare", "write_sample_dataset",
]  # fmt: skip
