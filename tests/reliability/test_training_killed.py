"""A training that is killed or stopped at any moment continues as if nothing had been."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.reliability.training import TRAIN, Run, prepare, start, trained, uninterrupted
from tests.victims import Victim, Zygote, catches, waited_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")
CHECKPOINT = 134 * 2**20  # bytes, about


def killed_while_saving(victim: Victim, run: Run, size: float, *, group: bool) -> bool:
    """Kill it when a checkpoint has been written to so many bytes; whether it was so."""

    def large_enough() -> bool:
        try:
            return any(path.stat().st_size >= size for path in run.half_written(victim))
        except FileNotFoundError:  # it has got its name meanwhile
            return False

    waited_for(large_enough, victim)
    victim.kill(group=group)
    victim.wait()
    return bool(run.half_written(victim))


@pytest.mark.long
@pytest.mark.parametrize("times", [50])
def test_killed_at_random_moments_it_continues_bit_for_bit(
    tmp_path: Path, zygote: Zygote, ledger: Callable, times: int
) -> None:
    rng = random.Random(times)
    whole = uninterrupted(zygote, tmp_path)
    run = Run(tmp_path / "logs/killed")
    kills, inside, ended = 0, 0, 0
    while kills < times:
        victim = start(zygote, tmp_path, "killed", workers=kills % 2)
        group = rng.random() < 0.5
        if kills % 2:
            inside += killed_while_saving(victim, run, rng.uniform(0, CHECKPOINT), group=group)
        else:
            end = time.monotonic() + rng.uniform(0, 3)
            waited_for(lambda end=end: time.monotonic() > end, victim)
            victim.kill(group=group)
            victim.wait()
        run.check_readable()
        if victim.status == 0:
            run.begin_anew(whole)
            ended += 1
        else:
            assert victim.status == -signal.SIGKILL, victim.text()
            kills += 1
    trained(zygote, tmp_path, "killed", workers=1)
    run.check_whole(whole)
    assert inside >= times * 0.3
    ledger(
        1,
        f"training, resnet18: SIGKILL at random moments, {inside} of them while a checkpoint was written, "
        "half with workers, half to the whole group",
        times=times,
        outcome=f"no checkpoint unreadable; {ended + 1} runs ran to the end, with weights, moments and "
        "random states equal bit for bit to an uninterrupted one; no temporary file left",
    )


@pytest.mark.long
@pytest.mark.parametrize("times", [50])
def test_a_signal_at_a_random_moment_ends_it_with_nothing_half_written(
    tmp_path: Path, zygote: Zygote, ledger: Callable, times: int
) -> None:
    """From the start on, through training, to the end of the test."""
    rng = random.Random(times)
    whole = uninterrupted(zygote, tmp_path)
    run = Run(tmp_path / "logs/stopped")
    signals = 0
    while signals < times:
        number = (signal.SIGINT, signal.SIGTERM)[signals % 2]
        victim = start(zygote, tmp_path, "stopped", workers=signals // 2 % 2)
        assert waited_for(lambda: catches(victim, signal.SIGTERM), victim), victim.text()  # noqa: B023
        end = time.monotonic() + rng.uniform(0, 3)
        waited_for(lambda end=end: time.monotonic() > end, victim)
        victim.kill(number, group=rng.random() < 0.5)
        victim.wait()
        run.check_readable()
        assert not run.leftovers() and "Traceback" not in victim.text(), victim.text()
        if victim.status == 0:  # too late
            run.begin_anew(whole)
            continue
        assert victim.status == 128 + number, victim.text()
        if "stopped after step" in victim.text():
            assert f"stopped after step {run.steps()[-1]} and saved" in victim.text()
        signals += 1
    trained(zygote, tmp_path, "stopped")
    run.check_whole(whole)
    ledger(
        1,
        "training and the test after it: SIGINT and SIGTERM in turn at random moments, half with loading "
        "processes, half to the whole group",
        times=times,
        outcome="exit status 130 or 143, nothing half-written, no traceback; final weights equal bit for bit",
    )


@pytest.mark.long
@pytest.mark.parametrize("times", [20])
def test_a_second_interrupt_ends_it_at_once(
    tmp_path: Path, zygote: Zygote, ledger: Callable, times: int
) -> None:
    """While it saves, for the first one."""
    rng = random.Random(times)
    prepare(zygote, tmp_path)
    inside = 0
    for turn in range(times):
        run = Run(tmp_path / f"logs/run-{turn}")
        victim = start(zygote, tmp_path, run.folder.name, "--model_save_step=2", workers=turn % 2)
        assert waited_for(lambda run=run: run.steps(), victim), victim.text()
        victim.kill(signal.SIGINT)
        waited_for(lambda run=run, victim=victim: run.half_written(victim), victim)
        time.sleep(rng.uniform(0, 0.1))
        inside += bool(run.half_written(victim))
        victim.kill(signal.SIGINT, group=bool(turn % 2))
        assert victim.wait() == 130, victim.text()
        run.check_readable()
        assert run.steps()[0] == 2 and not run.leftovers(), victim.text()
        shutil.rmtree(run.folder)
    assert inside
    ledger(
        1,
        f"training: a second SIGINT, {inside} times while the checkpoint for the first was written",
        times=times,
        outcome="exit status 130, no temporary file, the checkpoints before it readable",
    )


def children_of(victim: Victim) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        text = Path(f"/proc/{victim.number}/task/{victim.number}/children").read_text()
        return [int(each) for each in text.split()]
    return []


@pytest.mark.long
@pytest.mark.parametrize("times", [10])
def test_a_worker_that_is_killed_ends_the_run_with_one_line(
    tmp_path: Path, zygote: Zygote, ledger: Callable, times: int
) -> None:
    rng = random.Random(times)
    whole = uninterrupted(zygote, tmp_path)
    run = Run(tmp_path / "logs/orphaned")
    kills = 0
    while kills < times:
        victim = start(zygote, tmp_path, "orphaned", workers=1)
        waited_for(lambda victim=victim: children_of(victim), victim)
        time.sleep(rng.uniform(0, 1))
        loading = children_of(victim)
        if not loading:  # too late
            if victim.wait() == 0:
                run.begin_anew(whole)
            continue
        with suppress(ProcessLookupError):
            os.kill(rng.choice(loading), signal.SIGKILL)
        assert victim.wait(60) in (0, 2), victim.text()
        if victim.status == 2:
            errors = [line for line in victim.text().splitlines() if line.startswith("error: ")]
            assert (
                len(errors) == 1 and "a DataLoader worker died" in errors[0] and "--num_workers" in errors[0]
            )
            assert "Traceback" not in victim.text()
            kills += 1
        run.check_readable()
    trained(zygote, tmp_path, "orphaned", workers=1)
    run.check_whole(whole)
    ledger(
        2,
        "training and the test after it: SIGKILL to a worker at a random moment",
        times=times,
        outcome="one line, exit status 2, no wait; saved between two steps; final weights equal bit for bit",
    )


STOPPED = """
import os, signal, sys
import main
from run import features
embed = features.embed
def stopped(*arguments, **named):
    yield next(embed(*arguments, **named))
    os.kill(os.getpid(), signal.SIGTERM)
features.embed = stopped
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("what", ["an image", "SIGTERM"])
def test_workers_do_not_keep_the_program_from_its_end(
    prepared: Path, tmp_path: Path, zygote: Zygote, what: str
) -> None:
    """Python ends them when it exits: those of the other domain too, which no error was told of."""
    if what == "an image":
        (prepared / "photos/cat/0.png").write_bytes(b"torn")
    ended = zygote.run(tmp_path, *TRAIN, "--num_workers=2", program=STOPPED, timeout=60)
    assert ended.status == (2 if what == "an image" else 143), ended.text()
    assert "Traceback" not in ended.text() and "Exception" not in ended.text()
