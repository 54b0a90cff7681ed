"""The command line: one typed function per command."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from ulna.core import NameTable, UlnaError, UlnaWarning, readable, unknown_name

COMMANDS = NameTable(
    "command",
    {
        "quickstart": "ulna.cli.quickstart:main",
        "models": "ulna.cli.models:main",
        "sample": "ulna.cli.sample:main",
        "datasets": "ulna.cli.datasets:main",
        "prepare": "ulna.cli.prepare:main",
        "check": "ulna.cli.check:main",
        "show": "ulna.cli.show:main",
        "convert": "ulna.cli.convert:main",
        "skeletons": "ulna.cli.skeletons:main",
        "pose": "ulna.cli.pose:main",
        "info": "ulna.cli.info:main",
        "audit": "ulna.cli.audit:main",
        "pretrain": "ulna.cli.pretrain:main",
        "evaluate": "ulna.cli.evaluate:main",
        "fit": "ulna.cli.fit:main",
        "predict": "ulna.cli.predict:main",
        "timeline": "ulna.cli.timeline:main",
        "segment": "ulna.cli.segment:main",
        "stream": "ulna.cli.stream:main",
        "embed": "ulna.cli.embed:main",
        "export": "ulna.cli.export:main",
        "index": "ulna.cli.index:main",
        "search": "ulna.cli.search:main",
        "discover": "ulna.cli.discover:main",
        "attention": "ulna.cli.attention:main",
        "masks": "ulna.cli.masks:main",
        "robustness": "ulna.cli.robustness:main",
        "report": "ulna.cli.report:main",
        "sweep": "ulna.cli.sweep:main",
        "bench": "ulna.cli.bench:main",
    },
)
USAGE = """ulna learns representations of motion from unlabelled skeleton sequences.

  ulna quickstart                                      try everything on a sample inside the package
  ulna models                                          list the encoders inside the package
  ulna sample NAME DATASET                             write a sample inside the package as a dataset
  ulna datasets                                        list the formats that can be read, and where to get data
  ulna skeletons                                       list and draw the known joint sets
  ulna pose VIDEO... --out FOLDER                      estimate poses from videos
  ulna check FILE|DATASET                              find what is missing or implausible, and repair it
  ulna show FILE|DATASET                               show moving skeletons in a page
  ulna convert SOURCE DEST                             files -> npz, CSV, TRC or .pose
  ulna prepare [FORMAT] SOURCE DATASET                 files -> dataset
  ulna info DATASET|MODEL                              describe a dataset or a model
  ulna audit DATASET... --split SPLIT                  find test clips that are copies of training clips
  ulna pretrain RECIPE --data DATASET --out MODEL      pretrain without labels
  ulna evaluate MODEL... --data DATASET                evaluate on labelled clips, save a classifier
  ulna fit MODEL --data DATASET                        train a classifier with few labels, in seconds
  ulna predict MODEL FILE...                           classify new clips
  ulna timeline MODEL RECORDING...                     find when something happens in long recordings
  ulna segment MODEL RECORDING...                      cut long recordings where movement changes, without labels
  ulna stream MODEL --fps FPS                          classify frames on standard input while they arrive
  ulna embed MODEL --data DATASET --out FILE.parquet   one vector per clip
  ulna export MODEL FILE.onnx                          one graph that runs without torch, also in a browser
  ulna index MODEL DATASET INDEX                       write an index to search in
  ulna search INDEX QUERY                              find clips like one, or like a part of a recording
  ulna discover MODEL DATASET PAGE                     find kinds of movement without labels
  ulna attention MODEL... --data DATASET               show what an encoder attends to
  ulna masks MODEL --data DATASET                      show scores and masks of HA-CM
  ulna robustness MODEL... --data DATASET              measure accuracy on corrupted clips
  ulna report MODEL...                                 write one self-contained HTML file
  ulna sweep GRID --data DATASET --out FOLDER          print or run the commands of a grid of recipes
  ulna bench MODEL... --data DATASET --table FILE.csv  evaluate under all tasks of the benchmark

Each command explains its options: ulna COMMAND --help
"""


def main() -> None:
    """Run one command.

    Errors caused by input are shown in one message, with exit code 2; other errors with their traceback, exit code 1.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        from ulna import __version__

        print(f"ulna {__version__}")
        return
    name, *rest = arguments
    if name not in COMMANDS:
        _fail(f"ulna: {unknown_name('command', name, COMMANDS)}")
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", UlnaWarning)
    signal.signal(signal.SIGTERM, _terminate)
    command: Callable[[Sequence[str]], Any] = COMMANDS[name]
    try:
        command(rest)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UlnaError as error:
        _fail(f"ulna {name}: {error}")
    except OSError as error:  # no permission, no space, not a directory
        _fail(f"ulna {name}: {readable(str(error), 480)}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    """Show warnings of ulna in one line, others as Python does."""
    if issubclass(category, UlnaWarning):
        print(f"warning: {readable(str(message), 480)}", file=file or sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def _terminate(number: int, frame: object) -> None:  # noqa: ARG001
    """Exit through the clean-up of unfinished work."""
    sys.exit(128 + number)


def _fail(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)
