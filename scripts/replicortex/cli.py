"""The command ``replicortex``: finds the project, then starts one of the commands in ``commands/``.

A command is a file there. Its docstring is its help, ``GROUP`` says under which heading it stands, and either
``SCRIPT`` names the file of ``scripts/`` that does it, or ``add_options`` and ``main`` do. With a script, ``ASKS`` says
whether it asks about a configuration (it does unless it says otherwise), and ``DEFAULTS`` are options that it is given.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from . import __version__
from .asking import LAID
from .errors import InputError, did_you_mean
from .job import CALLED_AS

PACKAGE = Path(__file__).parent
LEVELS = ("participant", "group")
#: Headings of the help, in order.
GROUPS = {
    "look": "what there is",
    "run": "run, and look at a run",
    "results": "results",
    "add": "add to the project",
}

_USAGE = """\
replicortex BIDS_DIR OUTPUT_DIR participant|group --study NAME [...]
       replicortex COMMAND [...]"""
_OPTIONS = """\
everywhere:
  --project DIR    folder of the Snakefile (default: $REPLICORTEX_PROJECT, this folder, or where the package lies)
  --directory DIR  folder of results/ and logs/, to work in (default: this folder)
  --version        show the version
  --help           show the help of a command, or this"""
#: Starts the library that lies in the project, where another one was called.
_RESTART = "import sys; sys.path.insert(0, sys.argv.pop(1)); from replicortex.cli import main; sys.exit(main())"


class Context(NamedTuple):
    """Where a command works."""

    project: Path
    command: str


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit status.

    That is 0 when all is done, 1 when jobs or checks failed, 2 when the input was refused before anything ran, and 130
    when the user stopped it.
    """
    try:
        return _main(list(sys.argv[1:] if words is None else words))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone; what is left must not be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def names() -> list[str]:
    """Return the names of all commands."""
    return sorted(path.stem for path in (PACKAGE / "commands").glob("[a-z]*.py"))


def load(name: str) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f".commands.{name}", __package__)


def _main(words: list[str]) -> int:
    before = list(words)
    project, directory = _take(words, "--project"), _take(words, "--directory")
    if not words or words[0] in ("--help", "-h", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"replicortex {__version__}")
        return 0
    name = _command(words)
    folder = find_project(project)
    _use_library_of(folder, before)
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise InputError(directory, f"can not be entered ({error.strerror})", "correct --directory") from None
    command = load(name)
    context = Context(folder, f"replicortex {name}")
    if hasattr(command, "SCRIPT"):
        _start(context, command, words)
    parser = argparse.ArgumentParser(
        prog=context.command,
        description=command.__doc__.replace("``", ""),
        epilog=getattr(command, "EPILOG", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_options(parser)
    words, more = _split(words)
    if more and not getattr(command, "PASSES_ON", False):
        parser.error(f"nothing follows -- here: {' '.join(more)}")
    given = parser.parse_args(words)
    given.more = more
    return command.main(context, given)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before and after ``--``."""
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def _command(words: list[str]) -> str:
    """Return the command that is meant, and take its name from the words; a call on a dataset names none."""
    if words[0] in names():
        return words.pop(0)
    if set(LEVELS) & set(words):
        return "bids"
    if Path(words[0]).is_dir():
        remedy = "replicortex BIDS_DIR OUTPUT_DIR participant|group --study NAME; replicortex check BIDS_DIR"
        raise InputError(words[0], "a folder, and no level of analysis", f"call {remedy}")
    raise InputError(f"replicortex {words[0]}", "no such command", did_you_mean(words[0], names()))


def _take(words: list[str], option: str) -> str | None:
    """Return the value of an option that stands anywhere before ``--``, and take it from the words."""
    end = words.index("--") if "--" in words else len(words)
    for place, word in enumerate(words[:end]):
        if word.startswith(f"{option}="):
            return words.pop(place).partition("=")[2]
        if word == option:
            if place + 1 >= end:
                raise InputError(option, "names no folder", f"{option} DIR")
            del words[place]
            return words.pop(place)
    return None


def find_project(given: str | None) -> Path:
    """Return the folder of the Snakefile: the one that is named, else the working directory, else the package's.

    Raises
    ------
    InputError
        If there is none.
    """
    named = given or os.environ.get("REPLICORTEX_PROJECT")
    places = [Path(named)] if named else [Path.cwd(), PACKAGE.parents[1]]
    for place in places:
        if (place / "Snakefile").is_file() and (place / "config" / "schemas" / "config.schema.yaml").is_file():
            return place.resolve()
    if named:
        where = "--project" if given else "REPLICORTEX_PROJECT"
        raise InputError(f"{where} {named}", "has no Snakefile and config/schemas", "name the folder of a checkout")
    raise InputError("project", "neither here nor beside the package", "name its folder with --project")


def _use_library_of(project: Path, words: Sequence[str]) -> None:
    """Go on in the library of the project, if this is another: rules and library belong together."""
    scripts = project / "scripts"
    if (scripts / "replicortex" / "cli.py").is_file() and not (scripts / "replicortex").samefile(PACKAGE):
        command = [sys.executable, "-c", _RESTART, str(scripts), *words]
        os.execve(sys.executable, command, {**os.environ, "REPLICORTEX_PROJECT": str(project)})  # noqa: S606


def _start(context: Context, command: ModuleType, words: Sequence[str]) -> None:
    """Become the script that does a command: its options, its exit status, and Ctrl-C, are its own."""
    script = context.project / "scripts" / f"{command.SCRIPT}.py"
    if not script.is_file():
        raise InputError(script, "no such file", "restore it")
    # What comes first gives way to what the user says.
    defaults = getattr(command, "DEFAULTS", {})
    given = [part.format(project=context.project) for pair in defaults.items() for part in pair]
    if getattr(command, "ASKS", True):
        given = ["--project", str(context.project)]
        if Path(LAID).is_file():
            given += ["--configfile", LAID]
    os.environ[CALLED_AS] = context.command
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(script), *given, *words])  # noqa: S606


def _help() -> str:
    """Return the help: the two ways to call it, the commands by group, and the options of all."""
    lines = [f"usage: {_USAGE}", "", "From BIDS datasets to the scores, figures and verdicts of published studies.", ""]
    lines += ["on a dataset:", "  BIDS_DIR OUTPUT_DIR participant   preprocess it and take the features of the studies"]
    lines += ["  BIDS_DIR OUTPUT_DIR group         all of it: fits, scores, verdicts, figures"]
    lines += ["  bids --help                       its options", ""]
    modules = {name: load(name) for name in names()}
    width = max(map(len, modules))
    for group, heading in GROUPS.items():
        lines.append(f"{heading}:")
        for name, module in modules.items():
            if group == module.GROUP and name != "bids":
                text = module.__doc__.strip().splitlines()[0].rstrip(".")
                indent = " " * (width + 4)
                lines += textwrap.wrap(
                    text, 100, initial_indent=f"  {name:<{width}}  ", subsequent_indent=indent, break_on_hyphens=False
                )
        lines.append("")
    return "\n".join([*lines, _OPTIONS])
