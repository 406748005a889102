"""What the code says of the documents: references lead somewhere, and nothing unseen is said of the paper."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import torch

from losses.mems import MEMS
from phases.parser import PROJECT

REFERENCE = re.compile(r"docs/method\.md, ((?:[A-Z][a-z]+(?: codes)?)(?:(?:, | and )[A-Z][a-z]+)*)")
METHOD = PROJECT / "docs" / "method.md"


def texts() -> dict[str, str]:
    """All text files of the project by name, but for this one."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False)
    names = [
        name for name in listed.stdout.splitlines() if name.endswith((".py", ".md", ".txt", ".args", "file"))
    ]
    if not names:
        pytest.skip("not a git checkout")
    paths = {name: PROJECT / name for name in names if name != "tests/test_docs.py"}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}


def test_references_to_the_method_name_its_headings() -> None:
    headings = set(re.findall(r"^## (.+)$", METHOD.read_text(encoding="utf-8"), re.MULTILINE))
    found = {
        heading
        for text in texts().values()
        for match in REFERENCE.finditer(text.replace("\n", " "))
        for heading in re.split(r", | and ", match[1])
    }
    assert len(found) >= 6 and found <= headings


def test_links_between_documents_lead_to_files() -> None:
    for name, text in texts().items():
        if name.endswith(".md"):
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
                assert ((PROJECT / name).parent / target).exists(), f"{name} links to {target}"


def test_no_section_of_the_paper_and_no_document_from_elsewhere_is_cited() -> None:
    for name, text in texts().items():
        cited = re.findall(
            r"paper, section \d|\(paper, \d|section \d of the paper|the paper's recipe|\bSPEC\b", text
        )
        assert not cited, f"{name}: {cited}"


def test_the_picture_of_the_method_draws_the_boundary_of_the_loss(tmp_path: Path) -> None:
    """On the drawn boundary both classes have the same logit, and the picture is written."""
    script = PROJECT / "docs" / "draw_method.py"
    spec = importlib.util.spec_from_file_location("draw_method", script)
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    for margin in (1.0, 2.0, drawn.LARGEST):
        line = torch.from_numpy(drawn.boundary(margin, target=1))
        line = line[line[:, 1].abs() < 0.8]
        loss = MEMS(num_classes=2, f_dim=2, margin=margin, annealing_step=0).double()
        loss.centers.data = torch.from_numpy(drawn.CENTERS)
        logits = loss.logits(line, torch.ones(len(line), dtype=torch.long))
        assert len(line) > 20 and torch.allclose(logits[:, 0], logits[:, 1], atol=0.01)
    drawn.draw(tmp_path / "method.svg")
    assert (tmp_path / "method.svg").read_text().count("<path") > 100
