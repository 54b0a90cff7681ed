"""Floor 11: the command line, one file a verb."""

from __future__ import annotations

import os
import signal
import sys

from ulna.core import NameTable, unknown_name

COMMANDS = NameTable(
    "command",
    {
        "quickstart": "ulna.cli.quickstart:main",
        "datasets": "ulna.cli.datasets:main",
        "prepare": "ulna.cli.prepare:main",
        "info": "ulna.cli.info:main",
        "audit": "ulna.cli.audit:main",
        "pretrain": "ulna.cli.pretrain:main",
        "evaluate": "ulna.cli.evaluate:main",
        "sweep": "ulna.cli.sweep:main",
        "predict": "ulna.cli.predict:main",
        "embed": "ulna.cli.embed:main",
        "attention": "ulna.cli.attention:main",
        "masks": "ulna.cli.masks:main",
        "robustness": "ulna.cli.robustness:main",
        "report": "ulna.cli.report:main",
    },
)
USAGE = """ulna learns what people do from how their skeletons move, without labels.

  ulna quickstart                                    the whole path on the sample inside the package
  ulna datasets                                      what can be read, where to get it, under which terms
  ulna prepare READER SOURCE STORE                   files -> dataset
  ulna info STORE|RUN                                what a dataset or a run holds
  ulna audit STORE... --split SPLIT                  find test clips that are copies of training clips
  ulna pretrain RECIPE --data STORE --out RUN        learn without labels
  ulna evaluate RUN... --data STORE                  judge what was learnt, save a classifier
  ulna sweep TABLE|RECIPE... --data STORE --out DIR  pretrain and judge over seeds, write a table
  ulna predict RUN FILE...                           labels for new clips
  ulna embed RUN --data STORE --out FILE.parquet     one vector a clip
  ulna attention RUN... --data STORE                 what an encoder looks at, in figures and on a page
  ulna masks RUN --data STORE                        what cross masking scores and shows, on moving skeletons
  ulna robustness RUN --data STORE                   accuracy under noise, gaps, other frame rates and views
  ulna report RUN                                    one self-contained HTML file

Each command explains itself: ulna COMMAND --help
"""
USERS_MISTAKES = (ValueError, OSError, MemoryError)


def main() -> None:
    """Run one command; a user's mistake is one message on stderr and exit code 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        from ulna import __version__

        print(f"ulna {__version__}")
        return
    verb, *rest = arguments
    if verb not in COMMANDS:
        fail(unknown_name("command", verb, COMMANDS))
    signal.signal(signal.SIGTERM, _terminate)
    try:
        COMMANDS[verb](rest)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except USERS_MISTAKES as error:
        fail(f"{verb}: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _terminate(number: int, frame: object) -> None:  # noqa: ARG001
    """Leave through the clean-up of what is half done."""
    sys.exit(128 + number)


def fail(message: str) -> None:
    print(f"ulna {message}" if not message.startswith("unknown") else f"ulna: {message}", file=sys.stderr)
    sys.exit(2)
