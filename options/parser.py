"""Parses the command line: files of options, one parser per phase, and one-line messages for mistakes."""

import argparse
import difflib
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from options.declarations import CHECKPOINT_PHASES, GROUPS, OPTIONS, Option, one_of
from options.phases import PHASES
from utils.errors import UserError
from utils.files import decode_text
from utils.revision import revision

VERSION = "0.1.0"
CHECKPOINT_EPILOG = """Options of the network, input and loss are read from the checkpoint. They may be
given again if they agree with it, and must be given for a published checkpoint
if they differ from the defaults. docs/options.md lists them."""
# What to do instead of an option that the phase does not accept, where that is not obvious
ALTERNATIVES = {
    ("train", "pretrained_model"): "a training continues from its newest checkpoint. To continue from an "
    "earlier one, copy that to model/ of another --save_path; to start from its weights only, pass it as "
    "--backbone_weights",
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """All options with their defaults, and as `given` the names of those that were on the command line.

    `save_path` is the first of several, `compared` has the others. Raises UserError for a mistake.
    """
    arguments = expand_files([*(sys.argv[1:] if argv is None else argv)])
    arguments = [replace_hyphens(argument) for argument in arguments]
    return parse_phase(find_phase(arguments), arguments)


def parse_phase(phase: str | None, arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments of one phase; returns what `parse` does."""
    parser = build_parser(phase)
    options = parse_known(parser, phase or "train", arguments, argparse.Namespace())
    blank = argparse.Namespace(**dict.fromkeys(vars(options)))
    without_defaults = parse_known(parser, phase or "train", arguments, blank)
    options.given = {name for name, value in vars(without_defaults).items() if value is not None}
    for name, option in OPTIONS.items():  # those that the phase does not accept
        if not hasattr(options, name):
            setattr(options, name, option.default)
    options.save_path, *options.compared = options.save_path
    return options


def parse_values(values: dict[str, Any]) -> argparse.Namespace:
    """As `parse`, from Python values by option names. Raises UserError for a mistake.

    True and False mean "on" and "off", or the presence of a flag; None leaves the option out.
    """
    arguments: list[str] = []
    for name, value in values.items():
        if name not in OPTIONS:
            raise UserError(f"there is no option {name}{suggest_option(name)}")
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
    return parse_phase(str(values.get("phase", "train")), arguments)


def expand_files(arguments: list[str], parents: tuple[Path, ...] = ()) -> list[str]:
    """Replace every @FILE by the lines of FILE: an argument per line, without empty lines and comments (#).

    `parents` are the files that include these arguments. Raises UserError for a file that cannot be read, is
    not UTF-8 text, or includes itself.
    """
    expanded = []
    for argument in arguments:
        if not argument.startswith("@") or len(argument) == 1:
            expanded.append(argument)
            continue
        path = Path(argument[1:])
        if path.resolve() in parents:
            raise UserError(f"{path}: this file of options includes itself; remove the line {argument}")
        try:
            lines = decode_text(path.read_bytes()).splitlines()
        except OSError as error:
            raise UserError(f"cannot read options from {path}: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"cannot read options from {path}: {error}") from None
        lines = [line.strip() for line in lines]
        lines = [line for line in lines if line and not line.startswith("#")]
        expanded += expand_files(lines, (*parents, path.resolve()))
    return expanded


def replace_hyphens(argument: str) -> str:
    """--save-path=x as --save_path=x; anything that is not an option is returned unchanged."""
    name, equals, value = argument.partition("=")
    option = "--" + name.removeprefix("--").replace("-", "_")
    if name.startswith("--") and option.removeprefix("--") in OPTIONS:
        return option + equals + value
    return argument


def find_phase(arguments: list[str]) -> str | None:
    """The value of --phase, None without one. Raises UserError for an unknown phase."""
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--phase", type=one_of(PHASES))
    return finder.parse_known_args(arguments)[0].phase


def build_parser(phase: str | None = None) -> argparse.ArgumentParser:
    """The parser of the options that `phase`, by default train, accepts."""
    parser = Parser(
        usage=f"python main.py --phase={phase or 'PHASE'} [options]",
        description=PHASES[phase].purpose if phase else describe_phases(),
        epilog=CHECKPOINT_EPILOG if phase in CHECKPOINT_PHASES else None,
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
        for option in declared:
            if option.is_accepted_by(phase or "train"):
                is_shown = (phase or "train") in option.shown and not (phase and option.name == "phase")
                add_option(group, option, is_shown)
    return parser


def describe_phases() -> str:
    """The beginning of --help without a phase."""
    lines = [f"  {name:<10} {phase.purpose}" for name, phase in PHASES.items()]
    return "\n".join(
        [
            "Category-level sketch-based image retrieval: DASE network and MEMS loss.",
            "",
            "phases:",
            *lines,
            "",
            "python main.py --phase=PHASE --help shows the options of one phase. The options",
            "of train, the default phase, are:",
        ]
    )


def add_option(group: Any, declared: Option, is_shown: bool) -> None:
    """Add an option to an argument group."""
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
    """Fill `namespace`. Raises UserError for the first argument that `phase` does not accept."""
    options, unknown = parser.parse_known_args(arguments, namespace)
    if not unknown:
        return options
    name = unknown[0].partition("=")[0].removeprefix("--").removeprefix("no-")
    if not unknown[0].startswith("-"):
        raise UserError(
            f"{unknown[0]!r} does not belong to an option; to see all: python main.py --phase={phase} --help"
        )
    if name in OPTIONS:
        alternative = f"; {ALTERNATIVES[phase, name]}" if (phase, name) in ALTERNATIVES else ""
        phases = " and ".join(OPTIONS[name].shown)
        raise UserError(f"--{name} has no meaning for --phase={phase}, only for {phases}{alternative}")
    raise UserError(
        f"there is no option {unknown[0].partition('=')[0]}{suggest_option(name)}; to see all: python "
        f"main.py --phase={phase} --help"
    )


def suggest_option(name: str) -> str:
    """Text that asks whether the most similar option was meant; empty if none is similar."""
    nearest = difflib.get_close_matches(name.replace("-", "_"), list(OPTIONS), n=1)
    return f"; did you mean --{nearest[0]}?" if nearest else ""


class ShowVersion(argparse.Action):
    """Prints the versions of this program, with its commit, of Python and of PyTorch."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        try:
            torch = metadata.version("torch")
        except metadata.PackageNotFoundError:
            torch = "not installed"
        print(f"dase-mems {VERSION} (commit {revision()}), Python {platform.python_version()}, torch {torch}")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UserError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and keeps the line breaks of the description."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        if action.default is None or action.default == argparse.SUPPRESS:
            return action.help
        return super()._get_help_string(action)
