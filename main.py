"""Sketch-based image retrieval: domain-aware SE network, multiplicative Euclidean margin softmax.

python main.py --phase=prepare --dataset=sketchy                             make the annotation lists
python main.py --phase=train --dataset=sketchy --save_path=run --margin=4    train, then test
python main.py --phase=test --save_path=run                                  test the newest checkpoint
python main.py --phase=search --save_path=run --query drawing.png            find photos by a drawing
python main.py --phase=serve --save_path=run                                 draw in the browser
python main.py --phase=report --save_path=run                                look at what was learned
python main.py --phase=export --save_path=run --format=onnx                  hand the network on
"""

import logging
import os
import signal
import sys
import warnings
from importlib import import_module

from phases import PHASES
from phases.options import check_options
from phases.parser import parse
from utils.console import Console, ending_quietly, escape_what_cannot_be_shown
from utils.environment import check_environment
from utils.errors import UserError, one_line, refusal_of_the_machine
from utils.names import check_names


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
    escape_what_cannot_be_shown()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[Console(sys.stdout)], force=True)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # to leave nothing half-written
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        check_environment()
        options = parse(argv, description=__doc__)
        check_names(vars(options))
        check_options(options)
        exit_code = import_module(PHASES[options.phase]).run(options) or 0
        if exit_code == 0:
            from phases.next_command import announce  # it imports PyTorch: not before a mistake is told

            announce(options)
        return exit_code
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        line = refusal_of_the_machine(error)
        if line is None:
            raise
        print(f"error: {one_line(line)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    with ending_quietly():
        sys.exit(main())
