"""Sketch-based image retrieval: domain-aware SE network, multiplicative Euclidean margin softmax.

Each --phase is a separate command:

    python main.py --phase=train --help         shows the options of one phase

Without --save_path, search and serve use the ready network that comes with the program.
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
from utils.names import check_utf8_names

INSTALL = "install what the program needs: make setup, or pip install -r requirements.txt"


def main(argv: list[str] | None = None) -> int:
    """Run one phase and return the exit status.

    0 is success, 2 a user error or an I/O error. 130 and 143 mean stopped by a signal, 141 that the reader of
    the output closed the pipe.
    """
    # Let waiting OpenMP threads sleep instead of spin: beside DataLoader workers on the same cores, spinning
    # slowed a training step down eight times. Set before torch loads OpenMP, which reads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # --num_workers is the user's choice; the documentation says what suits a machine with few cores
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    # about unusual images; unreadable ones are reported by name
    warnings.filterwarnings("ignore", module="PIL")
    escape_unencodable()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[Console(sys.stdout)], force=True)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # so that temporary files are removed
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        check_environment()
        options = parse(argv)
        check_utf8_names(vars(options))
        check_options(options)
        return import_module(PHASES[options.phase].module).run(options) or 0
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        message = describe_os_error(error)
        if message is None:
            raise
        print(f"error: {one_line(message)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (PROJECT / str(error.name).partition(".")[0]).exists():  # a module of this program: a bug
            raise
        print(f"error: the package {error.name} is not installed; {INSTALL}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    with exit_on_closed_pipe():
        sys.exit(main())
