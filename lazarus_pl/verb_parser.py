"""Parsers whose errors are one sentence."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import NoReturn

from jsonargparse import ArgumentParser

from lazarus_pl.errors import LazarusError


class VerbParser(ArgumentParser):
    """A jsonargparse parser that raises :class:`LazarusError` instead of printing its usage."""

    def make_flags(self, function: Callable[..., object]) -> None:
        """Lets an option that is on or off stand alone: ``--json`` for ``--json true``.

        Args:
            function: Its parameters were added to this parser.
        """
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
        }
        for action in self._actions:
            if isinstance(defaults.get(action.dest), bool):
                action.nargs, action.const = "?", True

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the mistake as one sentence.

        Raises:
            LazarusError: Always.
        """
        raise LazarusError(one_sentence(message, describe_options(self))) from ex


def one_sentence(message: str, options: list[str]) -> str:
    """What a parser has to say, without its list of everything it tried.

    Args:
        message: jsonargparse's message.
        options: Option strings of the parser, for a suggestion.
    """
    message = message.replace("Does not validate against any of the Union subtypes", "")
    lines = [line.strip(" -\t") for line in message.splitlines() if line.strip(" -\t")]
    text = _most_telling(lines)
    if unknown := re.search(r"unrecognized arguments: (\S+)", text):
        return f"there is no option {unknown[1]}{suggestion(unknown[1], options)}"
    if unknown := re.search(
        r"(?:Key|Option|option) ['\"]?([\w.]+)['\"]? is not (?:expected|accepted)", text
    ):
        keys = [option.removeprefix("--") for option in options]
        return f"there is no config key '{unknown[1]}'{suggestion(unknown[1], keys)}"
    return text


def suggestion(word: str, known: list[str]) -> str:
    """``, did you mean '...'?`` if a known word is near, else a hint to the help."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else "; --help lists them all"


def _most_telling(lines: list[str]) -> str:
    for pattern in (r"is not (expected|accepted)", r"unrecognized"):
        for line in lines:
            if re.search(pattern, line):
                return line
    where = next((line for line in lines if line.startswith("Parser key")), "")
    account = ("Parser key", "Errors:", "Subtypes:", "Expected a <class 'NoneType'>", "Given value")
    told = [line for line in lines if not line.startswith(account)]
    return " ".join(part for part in (where, *told[:2]) if part) or "the command line is not valid"


def describe_options(parser: ArgumentParser) -> list[str]:
    """All option strings of a parser."""
    return [option for action in parser._actions for option in action.option_strings]
