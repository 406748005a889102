"""Sketch-based image retrieval: domain-aware SE network, multiplicative Euclidean margin softmax.

Each --phase is a command of its own:

    python main.py --phase=train --help         shows the options of one phase

Without a run, search and serve use the ready network that comes with this program.
"""

import logging
import os
import signal
import sys
import warnings
from importlib import import_module

from options.check import check_options
from options.parser import parse
from options.phases import PHASES
from utils.console import Console, escape_unencodable, exit_on_closed_pipe
from utils.environment import check_environment
from utils.errors import UserError, describe_os_error, one_line
from utils.files import PROJECT
from utils.names import check_names

INSTALL = "install what the program needs: make setup, or pip install -r requirements.txt"


def main(argv: list[str] | None = None) -> int:
    """Run one phase and return the exit status.

    0; 2 for a mistake of the user, a full disk and the like; 130 or 143 when a signal stopped it, 141 when
    nobody reads its output any more.
    """
    # Waiting threads shall sleep, not spin: beside loading processes on the same cores, spinning was seen to
    # slow a training step down eight times. It is read when torch loads OpenMP, so set before any phase.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # --num_workers is the user's choice; the README says what suits a machine with few cores
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    # of odd images; what cannot be read is reported by name
    warnings.filterwarnings("ignore", module="PIL")
    escape_unencodable()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[Console(sys.stdout)], force=True)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # to leave nothing half-written
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        check_environment()
        options = parse(argv)
        check_names(vars(options))
        check_options(options)
        return import_module(PHASES[options.phase].module).run(options) or 0
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        line = describe_os_error(error)
        if line is None:
            raise
        print(f"error: {one_line(line)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (PROJECT / str(error.name).partition(".")[0]).exists():  # of this program: a fault of its own
            raise
        print(f"error: the package {error.name} is not installed; {INSTALL}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    with exit_on_closed_pipe():
        sys.exit(main())
