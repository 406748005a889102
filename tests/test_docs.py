"""The documents: their links, commands, options and messages exist; nothing unseen is said of the paper."""

import ast
import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

from losses.mems import MEMS
from main import parse
from utils.errors import UserError
from utils.files import PROJECT

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


def pages() -> dict[str, str]:
    """All Markdown files by name."""
    return {name: text for name, text in texts().items() if name.endswith(".md")}


def test_the_readme_is_short() -> None:
    readme = pages()["README.md"]
    assert len(readme.splitlines()) <= 200 and len(readme.split()) <= 1600


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page in its links."""
    headings = re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def test_links_lead_to_files_and_headings() -> None:
    found = 0
    for name, text in pages().items():
        links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text)
        for target, heading in (*links, *((image, "") for image in re.findall(r'src="([^"]+)"', text))):
            path = (PROJECT / name).parent / target if target else PROJECT / name
            assert path.exists(), f"{name} links to {target}"
            if heading:
                assert heading in anchors(path.read_text(encoding="utf-8")), f"{name}: {target}#{heading}"
            found += 1
    assert found > 50


PROGRAMS = ("python", ".venv/bin/python", "torchrun", "srun", "make", "pip")


def commands(text: str) -> list[str]:
    """The commands that a page shows: lines of its code blocks, and code within a line or a table."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^(?:    |\t)+(.*)$", text, re.MULTILINE)
    for fenced in re.findall(r"^```.*?$(.*?)^```", text, re.MULTILINE | re.DOTALL):
        blocks += fenced.splitlines()
    inline = re.findall(r"`([^`]+)`", text)
    shown = [line.strip().removeprefix("$ ") for line in (*blocks, *inline)]
    return [line for line in shown if line.split(" ")[0] in PROGRAMS and " " in line]


def mistake(command: str) -> str | None:
    """What is wrong with a command of the shell, None if nothing is; it is not run."""
    parts: list[list[str]] = [[]]
    for word in shlex.split(command.replace(";", " ; "), comments=True):
        if word in ("&&", ";"):
            parts.append([])
        else:
            parts[-1].append(word)
    for program, *words in parts:
        if program in ("torchrun", "srun"):
            program, words = "python", words[words.index("main.py") :]
        if program.endswith("python") and words[0] == "-m":
            if importlib.util.find_spec(words[1]) is None:
                return f"no module {words[1]}"
        elif program.endswith("python") and words[0] == "main.py":
            if (refusal := refusal_of(words[1:])) is not None:
                return refusal
        elif program.endswith("python"):
            if not (PROJECT / words[0]).is_file():
                return f"no file {words[0]}"
        elif program == "make":
            targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
            if unknown := [word for word in words if "=" not in word and word not in targets]:
                return f"no target {unknown[0]}"
        elif program == "pip" and "-r" in words:
            requirements = words[words.index("-r") + 1]
            if "…" not in requirements and not (PROJECT / requirements).is_file():
                return f"no file {requirements}"
    return None


def refusal_of(arguments: list[str]) -> str | None:
    """What the program's parser says against `arguments`, None if it takes them."""
    try:
        parse(arguments)
    except UserError as error:
        return str(error)
    except SystemExit as end:  # 0: --help
        return "not understood" if end.code else None
    return None


def test_every_command_that_is_shown_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)  # where @experiments/... is
    shown = [(name, command) for name, text in pages().items() for command in commands(text)]
    wrong = {f"{name}: {command}": mistake(command) for name, command in shown}
    assert {command: why for command, why in wrong.items() if why} == {}
    assert len(shown) > 60
    assert {name for name, _ in shown} >= {"README.md", "docs/search.md", "docs/distributed.md"}


@pytest.mark.parametrize(
    "command",
    [
        "python main.py --phase=serach --query drawing.png",
        "python main.py --phase=train --margni=4",
        "torchrun --nproc_per_node=4 main.py --phase=train --batch_size=many",
        "python main.py --phase=reproduce @experiments/nothing.args",
        "python -m benchmarks.nothing",
        "python docs/nothing.py",
        "make setup && make tests",
        "pip install -r requirements/nothing.txt",
    ],
)
def test_a_wrong_command_would_be_found(command: str) -> None:
    assert commands(f"Do this:\n\n    {command}   # soon\n") == [f"{command}   # soon"]
    assert commands(f"| `{command}` | soon |") == [command]
    assert mistake(command)


def test_options_that_are_named_exist() -> None:
    known = set(re.findall(r"`--(\w+)`", pages()["docs/options.md"]))
    assert len(known) > 50
    others = {"help", "version", "logdir"}  # argparse's own, and tensorboard's
    for name, text in pages().items():
        for code in re.findall(r"`([^`\n]+)`", text):
            for option in re.findall(r"(?<![\w-])--(?:no-)?(\w+)", code):
                if code.split(" ")[0] not in ("pip", "torchrun"):
                    assert option in known | others, f"{name}: --{option}"


def string_of(node: ast.AST) -> str:
    """The text of a string in the source, with … for what is filled in; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(string_of(part) or "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return (string_of(node.left) or "…") + (string_of(node.right) or "…")
    return ""


def test_messages_of_the_troubleshooting_page_are_the_programs() -> None:
    page = pages()["docs/troubleshooting.md"].partition("## Messages of the system")[0]
    rows = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    strings = {
        string_of(node)
        for name, text in texts().items()
        if name.endswith(".py") and not name.startswith("tests/")
        for node in ast.walk(ast.parse(text))
    }
    for message in messages:
        pieces = [piece.strip() for piece in message.split("…") if piece.strip()]
        assert any(all(piece in string for piece in pieces) for string in strings), message
    assert len(messages) > 20


def test_no_section_of_the_paper_and_no_document_from_elsewhere_is_cited() -> None:
    for name, text in texts().items():
        cited = re.findall(
            r"paper, section \d|\(paper, \d|section \d of the paper|the paper's recipe|\bSPEC\b", text
        )
        assert not cited, f"{name}: {cited}"


@pytest.mark.plots
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
