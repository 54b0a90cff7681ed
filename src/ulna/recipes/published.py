"""Numbers that others published, to print beside ours. Mostly best epochs on the test set; ours are last epochs."""

from __future__ import annotations

from collections.abc import Mapping

Numbers = Mapping[str, Mapping[str, float]]

NW_UCLA: Numbers = {
    "LongT GAN 2018": {"linear": 74.3, "few-labels 10pct": 59.9},
    "MS2L 2020": {"linear": 76.8, "few-labels 10pct": 60.5},
    "SeBiReNet 2020": {"linear": 80.3},
    "ASSL 2020": {"few-labels 5pct": 52.6},
    "CRRL 2021": {"linear": 83.8},
    "H-Transformer 2021": {"linear": 83.9},
    "P&C 2020": {"linear": 84.9},
    "PCRP 2021": {"linear": 86.1},
    "'TS' Colorization 2021": {"linear": 90.1, "few-labels 5pct": 55.9, "few-labels 10pct": 71.3},
    "GL-Transformer 2022": {"linear": 90.4, "few-labels 5pct": 58.5, "few-labels 10pct": 74.3},
}
NTU60_XSUB: Numbers = {
    "LongT GAN 2018": {"linear": 39.1},
    "P&C 2020": {"linear": 50.7},
    "MS2L 2020": {"linear": 52.6},
    "PCRP 2021": {"linear": 54.9},
    "AS-CAL 2021": {"linear": 58.5},
    "CRRL 2021": {"linear": 67.6},
    "EnGAN-PoseRNN 2019": {"linear": 68.6},
    "H-Transformer 2021": {"linear": 69.3},
    "MCC-2s-AGCN": {"few-labels 5pct": 47.4, "few-labels 10pct": 60.8},
    "ASSL": {"few-labels 5pct": 57.3, "few-labels 10pct": 64.3},
    "'TS' Colorization 2021": {"linear": 71.6, "few-labels 5pct": 60.1, "few-labels 10pct": 66.1},
    "CrosSCLR-joint 2021": {"linear": 72.9, "few-labels 5pct": 61.3, "few-labels 10pct": 67.6},
    "CrosSCLR-bone 2021": {"linear": 75.2, "few-labels 5pct": 59.4, "few-labels 10pct": 67.7},
    "GL-Transformer 2022": {"linear": 76.3, "few-labels 5pct": 64.5, "few-labels 10pct": 68.6},
    "MAMP 2023": {"linear": 84.9, "finetune": 93.1, "few-labels 1pct": 66.0, "few-labels 10pct": 88.0},
    "HA-CM 2024": {"linear": 86.3},
    "AMR, CVPR 2026": {"linear": 87.4},
    "SLiM, NeurIPS 2026": {"linear": 87.9},
}
NTU60_XVIEW: Numbers = {
    "LongT GAN 2018": {"linear": 48.1},
    "PCRP 2021": {"linear": 63.4},
    "AS-CAL 2021": {"linear": 64.6},
    "H-Transformer 2021": {"linear": 72.8},
    "CRRL 2021": {"linear": 73.8},
    "P&C 2020": {"linear": 76.3},
    "EnGAN-PoseRNN 2019": {"linear": 77.8},
    "SeBiReNet 2020": {"linear": 79.7},
    "MCC-2s-AGCN": {"few-labels 5pct": 53.3, "few-labels 10pct": 65.8},
    "ASSL": {"few-labels 5pct": 63.6, "few-labels 10pct": 69.8},
    "CrosSCLR-bone 2021": {"linear": 78.8, "few-labels 5pct": 57.0, "few-labels 10pct": 67.3},
    "CrosSCLR-joint 2021": {"linear": 79.9, "few-labels 5pct": 64.4, "few-labels 10pct": 73.5},
    "'TS' Colorization 2021": {"linear": 79.9, "few-labels 5pct": 63.9, "few-labels 10pct": 73.3},
    "GL-Transformer 2022": {"linear": 83.8, "few-labels 5pct": 68.5, "few-labels 10pct": 74.9},
    "MAMP 2023": {"linear": 89.1, "finetune": 97.5, "few-labels 1pct": 68.7, "few-labels 10pct": 91.5},
    "HA-CM 2024": {"linear": 91.2},
    "AMR, CVPR 2026": {"linear": 92.3},
    "SLiM, NeurIPS 2026": {"linear": 93.2},
}
NTU120_XSUB: Numbers = {
    "P&C 2020": {"linear": 41.7},
    "PCRP 2021": {"linear": 43.0},
    "AS-CAL 2021": {"linear": 48.6},
    "CrosSCLR-bone 2021": {"linear": 53.3},
    "CRRL 2021": {"linear": 56.2},
    "CrosSCLR-joint 2021": {"linear": 58.8},
    "GL-Transformer 2022": {"linear": 66.0},
    "MAMP 2023": {"linear": 78.6, "finetune": 90.0},
    "HA-CM 2024": {"linear": 78.9},
    "AMR, CVPR 2026": {"linear": 81.1},
}
NTU120_XSET: Numbers = {
    "P&C 2020": {"linear": 42.7},
    "PCRP 2021": {"linear": 44.6},
    "AS-CAL 2021": {"linear": 49.2},
    "CrosSCLR-bone 2021": {"linear": 50.6},
    "CrosSCLR-joint 2021": {"linear": 53.3},
    "CRRL 2021": {"linear": 57.0},
    "GL-Transformer 2022": {"linear": 68.7},
    "MAMP 2023": {"linear": 79.1, "finetune": 91.3},
    "HA-CM 2024": {"linear": 80.2},
    "AMR, CVPR 2026": {"linear": 81.9},
}
PKU_MMD2: Numbers = {
    "HA-CM 2024": {"linear": 50.9},
    "MAMP 2023": {"linear": 53.8},
    "AMR, CVPR 2026": {"linear": 60.3},
}
