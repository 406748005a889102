"""A process that has imported everything and forks commands: a kill costs no seconds of starting up.

It speaks JSON, a line each way, with `victims.Zygote`: {"run": arguments, "folder", "output"} is answered
with the process's number, which leads a session of its own, and {"poll": number} with its exit status, minus
the signal that ended it, or null while it runs.
"""

import json
import os
import signal
import sys
from functools import partial
from importlib import import_module

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

import main
from options.phases import PHASES
from phases import prepare
from retrieval import hashing
from tests import tiny_network

WATCHED = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink")


def serve() -> None:
    """Answer until standard input closes."""
    torch.set_num_threads(1)
    tiny_network.register()
    torch.empty(2, 3) @ torch.empty(3, 2)
    for phase in PHASES.values():
        import_module(phase.module)
    # another user may not be able to
    for package in ("torch.utils.tensorboard", "matplotlib.figure", "encodings.utf_8_sig"):
        import_module(package)
    import_module("run.next_command")
    hashing.FIT_STEPS = 100
    prepare.draw_demo = partial(prepare.draw_demo, sketches=3, photos=2, image_size=32)
    for line in sys.stdin:
        request = json.loads(line)
        answer = polled(request["poll"]) if "poll" in request else forked(**request)
        print(json.dumps(answer), flush=True)


def polled(process: int) -> int | None:
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def forked(
    run: list[str], folder: str, output: str, opened: str | None = None, user: int | None = None
) -> int:
    """Start `main.py` with the arguments `run` in `folder`; what it prints goes to the file `output`.

    With `opened`, the places of all it opens go to that file. With `user`, it runs as that user.
    """
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell would ignore it
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        if opened:
            watch(opened)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        status = main.main(run)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def watch(path: str) -> None:
    """Write to the file at `path`, as JSON a line each, where everything is that is opened from here on."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def note(event: str, arguments: tuple) -> None:
        if event in WATCHED and isinstance(arguments[0], str | bytes | os.PathLike):
            os.write(file, json.dumps(os.path.realpath(os.fsdecode(arguments[0]))).encode() + b"\n")

    sys.addaudithook(note)


if __name__ == "__main__":
    serve()
