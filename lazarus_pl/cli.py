"""The ``lazarus`` command.

Our own verbs are functions: their parameters are the options, their docstrings the help. ``fit``,
``validate``, ``test`` and ``predict`` are LightningCLI's. Nothing heavy is imported before the
verb is known.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lazarus_pl import __version__
from lazarus_pl.did_you_mean import did_you_mean
from lazarus_pl.errors import LazarusError
from lazarus_pl.late_interrupt import EXIT_INTERRUPTED

EXIT_MISTAKE = 2

_LONGEST_NAME = 200
_FREE_SPACE = "free some space, or name a folder on another disk"
_ALLOW = "check its permissions, or name another folder"
_WAYS_OUT = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EROFS: _ALLOW,
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ENOTDIR: "a part of its path is a file, name another folder",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


@dataclass(frozen=True)
class Verb:
    """What a verb is for, the function ``module:name`` that does it, whether it continues.

    Aliases are other names for options. With ``positional`` what is required needs no name.
    ``config`` names the shipped file that holds the options' defaults.
    """

    help: str
    function: str
    resumes: bool = True
    aliases: Mapping[str, str] = field(default_factory=dict)
    positional: bool = False
    config: str = ""


VERBS = {
    "run": Verb(
        "photos to a trained model and a report of how far to trust it, the whole chain",
        "pipeline.run.run:run",
        config="run.yaml",
    ),
    "demo": Verb("the whole chain on drawn leaves, without a network", "pipeline.demo:demo"),
    "audit": Verb(
        "what is wrong with the data, and what each step will cost", "audit.run_audit:audit"
    ),
    "extract": Verb(
        "photos to a feature cache, in resumable micro-jobs",
        "pipeline.extract:extract",
        aliases={"--cache": "--out", "--windows": "--windows.count"},
    ),
    "grid": Verb("many runs on one cache, a leaderboard, the best one", "grid.run_grid:grid"),
    "calibrate": Verb(
        "honest probabilities, prediction sets and doubt for a checkpoint",
        "doubt.calibrate:calibrate",
        resumes=False,
    ),
    "classify": Verb(
        "photos to predictions with a trained checkpoint",
        "pipeline.classify:classify",
        resumes=False,
        aliases={"--tta-policy": "--tta_policy"},
    ),
    "export": Verb(
        "a checkpoint to one ONNX graph that needs nothing of this package",
        "pipeline.export:export",
        resumes=False,
    ),
    "doctor": Verb(
        "what this machine can do and what to mend",
        "audit.doctor.run_doctor:doctor",
        resumes=False,
    ),
    "explain": Verb(
        "photos to maps of where a diagnosis was read, and how far to trust them",
        "pipeline.explain:explain",
        resumes=False,
    ),
    "checkpoints": Verb(
        "the versions that a fine-tuning kept: list, show, diff, promote",
        "pipeline.checkpoints:checkpoints",
        resumes=False,
        positional=True,
    ),
}
LIGHTNING_VERBS = {
    "fit": "train one head (LightningCLI)",
    "validate": "score a checkpoint on val (LightningCLI)",
    "test": "score a checkpoint on test (LightningCLI)",
    "predict": "class probabilities of the test photos (LightningCLI)",
}


def main(args: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        args: The command line without the program's name; by default that of the process.

    Returns:
        The exit code: 0, 1 if a verb found a fault, 2 after a user's mistake, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if args is None else args)
    # Threads of torch that spin while they wait starve each other as soon as anything else runs
    # (benchmarks/busy.py); OpenMP reads this once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _log_to_stderr()
    try:
        return _run(words)
    except LazarusError as error:
        return _mistake(str(error))
    except KeyboardInterrupt:
        resumes = bool(words) and words[0] in VERBS and VERBS[words[0]].resumes
        hint = "; the same command continues where this one was" if resumes else ""
        sys.stderr.write(f"\nlazarus: stopped{hint}\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _mistake(_what_the_system_refused(error))


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0 if words else EXIT_MISTAKE
    if words[0] == "--version":
        sys.stdout.write(f"lazarus {__version__}\n")
        return 0
    verb, rest = words[0], [_with_shipped_config(word) for word in words[1:]]
    if verb in VERBS:
        return _run_own(verb, rest)
    if verb in LIGHTNING_VERBS:
        from lazarus_pl.lightning_cli import run_lightning

        run_lightning([verb, *rest])
        return 0
    meant = did_you_mean(verb, [*VERBS, *LIGHTNING_VERBS])
    raise LazarusError(f"there is no verb '{verb}'{meant}; see lazarus --help")


def _run_own(verb: str, words: list[str]) -> int:
    from lazarus_pl.shipped_config import shipped_config
    from lazarus_pl.verb_parser import VerbParser

    function = _load(VERBS[verb].function)
    shipped = VERBS[verb].config
    parser = VerbParser(
        prog=f"lazarus {verb}",
        description=_summary(function),
        default_config_files=[str(shipped_config(shipped))] if shipped else [],
    )
    parser.add_argument("-c", "--config", action="config", help="YAML file with these options")
    parser.add_function_arguments(function, as_group=False, as_positional=VERBS[verb].positional)
    parser.let_flags_stand_alone()
    try:
        parsed = parser.parse_args(_renamed(words, VERBS[verb].aliases))
    except AttributeError as error:
        # jsonargparse takes the key for its own option and stumbles
        raise LazarusError(f"'config' is no key of a config file of lazarus {verb}") from error
    options = parser.instantiate(parsed)
    options.pop("config", None)
    return int(function(**options.as_dict()) or 0)


def _renamed(words: Sequence[str], aliases: Mapping[str, str]) -> list[str]:
    parts = [word.partition("=") for word in words]
    return [f"{aliases.get(name, name)}{equals}{value}" for name, equals, value in parts]


def _with_shipped_config(word: str) -> str:
    """``configs/...`` is that of the package where the working folder has no such file."""
    option, equals, name = word.rpartition("=")
    if not name.startswith("configs/") or Path(name).exists():
        return word
    from lazarus_pl.shipped_config import shipped_config

    shipped = shipped_config(name.removeprefix("configs/"))
    return f"{option}{equals}{shipped}" if shipped.is_file() else word


def _load(name: str) -> Callable[..., Any]:
    module, function = name.split(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(f"lazarus_pl.{module}"), function)
    return loaded


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").split("\n\nArgs:")[0]


def _overview() -> str:
    lines = [
        "usage: lazarus [-h] [--version] VERB ...",
        "",
        "From a folder of leaf photographs to an honest plant-disease classifier.",
        "Begin with: lazarus demo, or lazarus run --data PHOTOS --out RUN",
        "",
        *(f"  {name:11} {verb.help}" for name, verb in VERBS.items()),
        "",
        *(f"  {name:11} {text}" for name, text in LIGHTNING_VERBS.items()),
        "",
        "Every verb has --help, and takes -c file.yaml.",
    ]
    return "\n".join(lines) + "\n"


def _log_to_stderr() -> None:
    """One line a message, to what is standard error now."""
    log = logging.getLogger("lazarus_pl")
    for handler in log.handlers:
        log.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("lazarus: %(message)s"))
    log.addHandler(handler)


def _what_the_system_refused(error: OSError) -> str:
    thing = f"'{_shortened(str(error.filename))}'" if error.filename else "a file"
    reason = error.strerror or str(error) or type(error).__name__
    way_out = _WAYS_OUT.get(error.errno or 0, "check that it is there and that you may use it")
    return f"{thing} cannot be read or written ({reason}): {way_out}"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def _mistake(text: str) -> int:
    sys.stderr.write(f"lazarus: error: {' '.join(text.split())}\n")
    return EXIT_MISTAKE
