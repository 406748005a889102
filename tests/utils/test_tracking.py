"""Scalars: rows by step, continued without a seam."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils.tracking import Scalars, read_scalars


def test_a_continued_run_drops_what_came_after_its_start(tmp_path: Path) -> None:
    with Scalars(tmp_path, ["loss", "lr"]) as scalars:
        for step in (2, 4, 6):
            scalars.write(step, {"loss": 1 / step, "lr": 0.1})
    with (tmp_path / "scalars.csv").open("a") as file:
        file.write("8,0.1")  # torn by a kill
    with Scalars(tmp_path, ["loss", "lr"], start_step=4) as scalars:
        scalars.write(6, {"loss": 0.5, "lr": 0.2})
    assert read_scalars(tmp_path / "scalars.csv") == [
        {"step": 2, "loss": 1 / 2, "lr": 0.1},
        {"step": 4, "loss": 1 / 4, "lr": 0.1},
        {"step": 6, "loss": 0.5, "lr": 0.2},
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "scalars.csv").write_text("step,loss\n5,1.0\n")
    with Scalars(tmp_path, ["loss"]):
        pass
    assert read_scalars(tmp_path / "scalars.csv") == []
    assert read_scalars(tmp_path / "absent.csv") == []


def test_a_torn_number_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    for torn in ("8", "8,", "8,0.1", "8,1e-"):
        (tmp_path / "scalars.csv").write_text("step,loss\n5,1.0\n" + torn)
        assert read_scalars(tmp_path / "scalars.csv") == [{"step": 5, "loss": 1.0}]


def test_tensorboard_reads_what_is_written_and_forgets_what_is_written_again(tmp_path: Path) -> None:
    for start, steps, loss in ((0, (1, 2, 3, 4), 1.0), (2, (3, 4, 5), 2.0)):
        with Scalars(tmp_path, ["loss", "lr"], start_step=start) as scalars:
            for step in steps:
                scalars.write(step, {"loss": loss, "lr": 0.5})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(each.step, each.value) for each in board.Scalars("loss")] == [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 2),
    ]
    assert {each.value for each in board.Scalars("lr")} == {0.5}
