"""metrics.csv: one row per epoch."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ulna.core import new_file


class MetricsLogger(L.Callback):
    """Writes the mean losses of each epoch, weighted by clips, to a file and the loggers.

    Rows and sums are part of every checkpoint, so that a resumed run writes the same file as an uninterrupted one.
    Sums stay on the training device until the epoch ends.

    Args:
        path: File to write.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.seconds, self._since, self._rate = path, 0.0, 0.0, 0.0
        self.rows: list[dict[str, Any]] = []
        self._sums: dict[str, Tensor] = {}
        self._clips = 0

    def state_dict(self) -> dict[str, Any]:
        sums = {name: float(value) for name, value in self._sums.items()}
        return {"seconds": self._seconds_now(), "rows": self.rows, "sums": sums, "clips": self._clips}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self.rows, self._clips = state["seconds"], state["rows"], state["clips"]
        self._sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in state["sums"].items()}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]  # before the epoch's last step changes it

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int  # noqa: ARG002
    ) -> None:  # fmt: skip
        for name, mean in outputs["means"].items():
            share = mean.double() * outputs["num_clips"]
            self._sums[name] = self._sums.get(name, torch.zeros_like(share)).to(share.device) + share
        self._clips += outputs["num_clips"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        means = {name: float(value) / self._clips for name, value in self._sums.items()}
        self.seconds, self._since = self._seconds_now(), time.perf_counter()
        self._sums, self._clips = {}, 0
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            **{name: f"{value:.6f}" for name, value in means.items()},
            "learning_rate": f"{self._rate:.4e}",
            "seconds": f"{self.seconds:.2f}",
        }
        self.rows.append(row)
        if trainer.is_global_zero:
            self._write()
            for logger in trainer.loggers:
                logger.log_metrics({**means, "learning_rate": self._rate}, trainer.global_step)

    def _seconds_now(self) -> float:
        return self.seconds + (time.perf_counter() - self._since if self._since else 0.0)

    def _write(self) -> None:
        with new_file(self.path) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, list(self.rows[0]))
            table.writeheader()
            table.writerows(self.rows)
