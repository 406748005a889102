"""Run the benchmarks, each in its own process, and write the tables of docs/performance.md.

python -m benchmarks                                    all of them, on the CPU
python -m benchmarks hashing input                      some
python -m benchmarks --device=cuda                      those that need a GPU
"""

import argparse
import subprocess
import sys

import torch

from benchmarks.measure import results_path
from benchmarks.tables import draw_figures, write_tables

ON_CPU = ("evaluation", "hashing", "training", "input", "recall", "indices", "growth")
ON_GPU = ("evaluation", "training")  # as many as `make bench-gpu` can run in eight minutes


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help=f"benchmarks to run, among {', '.join(ON_CPU)}; default: all"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device")
    failed = []
    for name in options.names or (ON_CPU if options.device == "cpu" else ON_GPU):
        print(name, flush=True)
        device = [f"--device={options.device}"] if name in ON_GPU else []
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *device], check=False).returncode:
            failed.append(name)
        write_tables()
    draw_figures()
    print(f"results in {results_path(torch.device(options.device))}, tables in docs/performance.md")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
