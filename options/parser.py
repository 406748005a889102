"""The command line: files of options, one parser per phase, and mistakes told in one line."""

import argparse
import difflib
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from options.declarations import GROUPS, OPTIONS, READING, Option, one_of
from options.phases import PHASES
from utils.errors import UserError
from utils.revision import revision

VERSION = "0.1.0"
CHECKPOINT_OPTIONS = """Options of network, input and loss are read from the checkpoint. Given again,
they must agree with it; for a published checkpoint, which lacks them, they
fill the gaps. docs/options.md lists them."""
# What to do instead of an option that the phase does not take, where that is not clear
INSTEAD = {
    ("train", "pretrained_model"): "a training continues from its newest checkpoint. To continue from an "
    "earlier one, copy that to model/ of another --save_path; to begin with its weights alone, pass it as "
    "--backbone_weights",
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """All options with their defaults, and as `given` the names of those that were on the command line.

    `save_path` is the first of those given, `compared` the others. Raises UserError for a mistake.
    """
    arguments = expand_files([*(sys.argv[1:] if argv is None else argv)])
    arguments = [with_underscores(each) for each in arguments]
    return parse_for(find_phase(arguments), arguments)


def parse_for(phase: str | None, arguments: list[str]) -> argparse.Namespace:
    """`arguments` as `parse` returns them."""
    parser = build_parser(phase)
    options = parse_known(parser, phase or "train", arguments, argparse.Namespace())
    blank = argparse.Namespace(**dict.fromkeys(vars(options)))
    found = parse_known(parser, phase or "train", arguments, blank)
    options.given = {name for name, value in vars(found).items() if value is not None}
    for name, each in OPTIONS.items():  # those that the phase does not take
        if not hasattr(options, name):
            setattr(options, name, each.default)
    options.save_path, *options.compared = options.save_path
    return options


def parse_values(values: dict[str, Any]) -> argparse.Namespace:
    """As `parse`, from Python's values by the options' names. Raises UserError for a mistake.

    True and False stand for an option's "on" and "off", or for its presence; None leaves it out.
    """
    arguments: list[str] = []
    for name, value in values.items():
        if name not in OPTIONS:
            raise UserError(f"there is no option {name}{did_you_mean(name, OPTIONS)}")
        if value is None:
            continue
        if isinstance(value, list | tuple):
            arguments += [f"--{name}", *map(str, value)]
        elif not isinstance(value, bool):
            arguments.append(f"--{name}={value}")
        elif OPTIONS[name].is_flag:
            arguments += [f"--{name}"] if value else []
        elif OPTIONS[name].arguments.get("action") is argparse.BooleanOptionalAction:
            arguments.append(f"--{name}" if value else f"--no-{name}")
        else:
            arguments.append(f"--{name}={'on' if value else 'off'}")
    return parse_for(str(values.get("phase", "train")), arguments)


def expand_files(arguments: list[str], inside: tuple[Path, ...] = ()) -> list[str]:
    """`arguments` with the lines of FILE in place of @FILE: an argument a line, without empty and # lines.

    Raises UserError for a file that is missing, is not UTF-8 text, or includes itself.
    """
    expanded = []
    for argument in arguments:
        if not argument.startswith("@") or len(argument) == 1:
            expanded.append(argument)
            continue
        path = Path(argument[1:])
        if path.resolve() in inside:
            raise UserError(f"{path}: this file of options includes itself; remove the line {argument}")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{argument}: no options can be read from {path}: {error.strerror}") from None
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"{path} is UTF-16 text: save it as UTF-8")
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
        lines = [line.strip() for line in lines]
        lines = [line for line in lines if line and not line.startswith("#")]
        expanded += expand_files(lines, (*inside, path.resolve()))
    return expanded


def with_underscores(argument: str) -> str:
    """--save-path=x as --save_path=x; anything that is no option, or is spelled with hyphens, as it is."""
    name, equals, value = argument.partition("=")
    spelled = "--" + name.removeprefix("--").replace("-", "_")
    if name.startswith("--") and spelled.removeprefix("--") in OPTIONS:
        return spelled + equals + value
    return argument


def find_phase(arguments: list[str]) -> str | None:
    """The --phase among `arguments`, None if there is none. Raises UserError if there is no such phase."""
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--phase", type=one_of(PHASES))
    return finder.parse_known_args(arguments)[0].phase


def build_parser(phase: str | None = None) -> argparse.ArgumentParser:
    """The parser of the options that `phase` takes, by default train."""
    parser = Parser(
        usage=f"python main.py --phase={phase or 'PHASE'} [options]",
        description=PHASES[phase].purpose if phase else describe_phases(),
        epilog=CHECKPOINT_OPTIONS if phase in READING else None,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action=ShowVersion,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="show the versions and exit",
    )
    for title, declared in GROUPS.items():
        group = parser.add_argument_group(title)
        for each in declared:
            if each.is_taken_by(phase or "train"):
                is_shown = (phase or "train") in each.shown and not (phase and each.name == "phase")
                add_option(group, each, is_shown)
    return parser


def describe_phases() -> str:
    """What --help begins with where no phase is named."""
    lines = [f"  {name:<10} {phase.purpose}" for name, phase in PHASES.items()]
    return "\n".join(
        [
            "Category-level sketch-based image retrieval: DASE network and MEMS loss.",
            "",
            "phases:",
            *lines,
            "",
            "python main.py --phase=PHASE --help shows the options of one phase. Those of",
            "train, the default, are:",
        ]
    )


def add_option(group: Any, declared: Option, is_shown: bool) -> None:
    """Add an option to a group of a parser."""
    arguments = {"default": None, **declared.arguments}
    choices = arguments.pop("choices", None)
    if choices is not None:
        arguments["type"] = one_of(choices)
        arguments.setdefault("metavar", f"{{{','.join(choices)}}}")
    if not is_shown:
        arguments["help"] = argparse.SUPPRESS
    group.add_argument(f"--{declared.name}", **arguments)


def parse_known(
    parser: argparse.ArgumentParser, phase: str, arguments: list[str], namespace: argparse.Namespace
) -> argparse.Namespace:
    """Fill `namespace`. Raises UserError that names the first argument that `phase` does not take."""
    options, unknown = parser.parse_known_args(arguments, namespace)
    if not unknown:
        return options
    name = unknown[0].partition("=")[0].removeprefix("--").removeprefix("no-")
    if not unknown[0].startswith("-"):
        raise UserError(
            f"{unknown[0]!r} belongs to no option; to see all: python main.py --phase={phase} --help"
        )
    if name in OPTIONS:
        instead = f"; {INSTEAD[phase, name]}" if (phase, name) in INSTEAD else ""
        phases = " and ".join(OPTIONS[name].shown)
        raise UserError(f"--{name} has no meaning for --phase={phase}, only for {phases}{instead}")
    raise UserError(
        f"there is no option {unknown[0].partition('=')[0]}{did_you_mean(name, OPTIONS)}; to see all: python "
        f"main.py --phase={phase} --help"
    )


def did_you_mean(name: str, known: Any) -> str:
    """A question that names the nearest of the options `known`; empty if none is near."""
    nearest = difflib.get_close_matches(name.replace("-", "_"), list(known), n=1)
    return f"; did you mean --{nearest[0]}?" if nearest else ""


class ShowVersion(argparse.Action):
    """Prints the versions of this program, with its commit, and of what it computes with."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        try:
            torch = metadata.version("torch")
        except metadata.PackageNotFoundError:
            torch = "not installed"
        print(f"dase-mems {VERSION} (commit {revision()}), Python {platform.python_version()}, torch {torch}")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises a UserError of one line instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it is written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        if action.default is None or action.default == argparse.SUPPRESS:
            return action.help
        return super()._get_help_string(action)
