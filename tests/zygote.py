"""A process that has imported everything and forks commands: starting one costs no seconds of imports.

It speaks JSON, a line each way, with `victims.Zygote`. The parameters of `run_command` start a command and
are answered with the number of its process, which leads a session of its own; {"poll": number} is answered
with its exit status, minus the signal that ended it, or null while it runs.
"""

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

import main
from options.phases import PHASES
from phases import prepare
from retrieval import hashing
from tests import tiny_network

WATCHED = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink")
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # of <linux/sched.h>


def serve() -> int:
    """Answer until standard input closes; in a forked process, run its command. Returns the exit status."""
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
    gc.freeze()  # a collection in a forked process would copy the memory that it shares
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = poll_status(request["poll"])
        else:
            answer = os.fork()
            if not answer:
                return run_command(**request)
        print(json.dumps(answer), flush=True)
    return 0


def poll_status(process: int) -> int | None:
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def run_command(
    run: list[str],
    folder: str,
    output: str,
    *,
    program: str | None = None,
    processes: int = 0,
    environment: dict[str, str],
    mounting: str | None = None,
    then: str | None = None,
    opened: str | None = None,
    user: int | None = None,
) -> int:
    """Run `main.py` with the arguments `run` in `folder`; what it prints goes to the file `output`.

    With `program`, run that Python source instead of main.py. With `processes`, run so many as torchrun does.
    With `mounting`, run that shell command before, with mounts that nobody else sees, and with `then` another
    one after. With `opened`, write the places of all it opens to that file. With `user`, run as that user.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell would ignore it
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.environ.update(environment)
    if "TMPDIR" in environment:
        tempfile.tempdir = None  # it is looked for once
    if mounting:
        leave_mounts()
        subprocess.run(["sh", "-c", mounting], check=True)
        os.chdir(folder)  # which may be on another disk now
    if opened:
        watch(opened)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    try:
        if processes:
            return run_group(processes, program, run)
        return run_program(program, run)
    finally:
        if then:
            sys.stdout.flush()
            subprocess.run(["sh", "-c", then], check=True)


def run_program(program: str | None, arguments: list[str]) -> int:
    """Run main.py or a Python source; returns the exit status."""
    if program is None:
        return main.main(arguments)
    sys.argv = ["-c", *arguments]
    exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    return 0


def run_worker(program: str | None, arguments: list[str]) -> None:
    sys.exit(run_program(program, arguments))


def run_group(processes: int, program: str | None, arguments: list[str]) -> int:
    """Do what torchrun does, but with forked processes."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
    )
    try:
        elastic_launch(config, run_worker)(program, arguments)
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def leave_mounts() -> None:
    """Let this process see mounts of its own from here on, and be root there."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def watch(path: str) -> None:
    """Write to the file at `path`, as JSON a line each, where everything is that is opened from here on."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def note(event: str, arguments: tuple) -> None:
        if event in WATCHED and isinstance(arguments[0], str | bytes | os.PathLike):
            os.write(file, json.dumps(os.path.realpath(os.fsdecode(arguments[0]))).encode() + b"\n")

    sys.addaudithook(note)


if __name__ == "__main__":
    sys.exit(serve())
