"""Warnings about the loss in the log."""

import math
from types import SimpleNamespace

import pytest
import torch

from losses.mems import MEMS
from phases.train.monitor import LossMonitor
from run.config import make_config


class StubTrainer:
    """A trainer with given `losses`, one per step, and a margin that grows over `annealing_step` steps."""

    def __init__(
        self, losses: list[float], *, margin: float | None, annealing_step: int, center_norm: float = 1.0
    ) -> None:
        self.config = make_config(
            margin=margin,
            num_steps=len(losses),
            annealing_step=annealing_step,
            center_norm=center_norm,
            lr=1e-4,
        )
        self.data = SimpleNamespace(num_train_classes=3)
        self.criterion = MEMS(3, 8) if margin is None else MEMS(3, 8, margin=margin)
        self.scaler = SimpleNamespace(is_enabled=lambda: False)
        self.gradient_norm = torch.ones(())
        self.losses, self.annealing_step, self.step = losses, annealing_step, 0

    @property
    def alpha(self) -> float:
        return min(1.0, self.step / self.annealing_step)

    def training_step(self) -> torch.Tensor:
        self.step += 1
        return torch.tensor(self.losses[self.step - 1])


def collect_warnings(caplog: pytest.LogCaptureFixture, trainer: StubTrainer) -> list[str]:
    monitor = LossMonitor(trainer)
    caplog.clear()
    for _ in trainer.losses:
        monitor.add(trainer.training_step(), trainer.gradient_norm)
        monitor.check()
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([9.0, 9.0, 9.0, 9.0], [2, 4]),  # once when the margin has grown, and at the end
        ([1.0, 9.0, 1.0, 1.0], [2]),
        ([9.0, 1.0, 9.0, 1.0], []),  # below it when it counts
        ([0.1, 0.1, 0.1, math.log(3) + 0.01], [4]),
    ],
)
def test_warns_of_a_loss_above_guessing_once_the_margin_has_grown(caplog, losses, steps) -> None:
    found = collect_warnings(caplog, StubTrainer(losses, margin=4.0, annealing_step=2))
    assert [int(text.partition("at step ")[2].split()[0]) for text in found] == steps
    assert all("above ln 3 = 1.099" in text and "a smaller --margin" in text for text in found)


def test_without_a_margin_only_the_end_counts(caplog) -> None:
    (text,) = collect_warnings(caplog, StubTrainer([9.0] * 4, margin=None, annealing_step=100))
    assert "at step 4 the loss is 9.000, above" in text and "margin" not in text


@pytest.mark.parametrize("advised", [True, False])
def test_warns_once_of_a_collapse_with_remedies_not_yet_in_use(caplog, advised: bool) -> None:
    """A real collapse: a margin of 4 from the start, on features away from their centres."""
    torch.manual_seed(0)
    prototypes = torch.randn(3, 8)
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    criterion = MEMS(3, 8, margin=4.0)
    optimizer = torch.optim.Adam([*network.parameters(), *criterion.parameters()], lr=1e-2)

    class CollapsingTrainer(StubTrainer):
        def training_step(self) -> torch.Tensor:
            labels = torch.randint(0, 3, (32,))
            loss = criterion(network(prototypes[labels] + 4 * torch.randn(32, 8)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.step += 1
            return loss.detach()

    annealing_step, center_norm = (1, 1.0) if advised else (400, 3.0)
    trainer = CollapsingTrainer(
        [0.0] * 400, margin=4.0, annealing_step=annealing_step, center_norm=center_norm
    )
    trainer.criterion = criterion
    texts = [text for text in collect_warnings(caplog, trainer) if "collapsed" in text]
    assert len(texts) == 1, texts
    assert ("--center_norm=3" in texts[0]) == ("--annealing_step=400" in texts[0]) == advised
    assert "a smaller --margin or a smaller --lr" in texts[0]
    assert "ln C = 1.099" in texts[0]
    distances = torch.pdist(criterion.centers.detach()).square()
    assert distances.mean() < 0.1


def test_neither_a_start_nor_a_success_is_a_collapse() -> None:
    start = MEMS(125, 512, margin=2.0)
    assert not start.has_collapsed(math.log(125))  # centres apart: the loss of the first steps
    assert not MEMS(125, 512, margin=2.0, center_norm=3.0).has_collapsed(4.8)
    together = MEMS(125, 512, margin=2.0, center_norm=0.01)
    assert together.has_collapsed(math.log(125)) and not together.has_collapsed(2.0)
    assert not MEMS(125, 512, margin=1.0, center_norm=0.01).has_collapsed(math.log(125))  # no margin
