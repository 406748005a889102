"""Commands as processes of their own, to be killed at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]


class Zygote:
    """Starts commands by forking (see zygote.py). To be closed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        folder: Path,
        *arguments: str,
        output: Path | None = None,
        opened: Path | None = None,
        environment: dict[str, str] | None = None,
        **how: Any,
    ) -> "Victim":
        """`main.py` with `arguments` in `folder`; what it prints goes to `output` (output.txt there).

        `how` are more parameters of `zygote.run_command`.
        """
        if output is None:
            output = folder / "output.txt"
            output.unlink(missing_ok=True)
        how |= {"opened": str(opened) if opened else None, "environment": environment or {}}
        number = self.ask(run=list(arguments), folder=str(folder), output=str(output), **how)
        return Victim(self, number, output)

    def run(self, folder: Path, *arguments: str, timeout: float = 120, **how: Any) -> "Victim":
        """As `start`, and wait for its end."""
        victim = self.start(folder, *arguments, **how)
        victim.wait(timeout)
        return victim

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


@dataclass
class Victim:
    """A command at work. `status`: its exit status, minus the signal that ended it; None while it runs."""

    zygote: Zygote
    number: int
    output: Path
    status: int | None = None

    def running(self) -> bool:
        if self.status is None:
            self.status = self.zygote.ask(poll=self.number)
        return self.status is None

    def wait(self, timeout: float = 120) -> int:
        """Its exit status. Raises TimeoutError, after killing it, with what it printed."""
        end = time.monotonic() + timeout
        while self.running():
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(self.text())
            time.sleep(0.002)
        assert self.status is not None
        return self.status

    def kill(self, number: int = signal.SIGKILL, *, group: bool = False) -> None:
        """Send a signal, to its workers as well if `group`; nothing happens once it has ended."""
        if self.running():
            leads = os.getpgid(self.number) == self.number  # not yet in its first moments
            (os.killpg if group and leads else os.kill)(self.number, number)

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""


def waited_for(condition: Callable[[], object], victim: Victim) -> bool:
    """Whether it came true before the victim ended."""
    while not condition():
        if not victim.running():
            return False
        time.sleep(0.0005)
    return True


def catches(victim: Victim, number: int) -> bool:
    """Whether the process has a handler for the signal by now."""
    try:
        lines = Path(f"/proc/{victim.number}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    mask = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)
