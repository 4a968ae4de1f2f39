"""Parsers whose errors are one sentence."""

from __future__ import annotations

import os
import re
from argparse import Action
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from lazarus_pl.allowed_classes import VARIABLE, allow_classes
from lazarus_pl.did_you_mean import nearest
from lazarus_pl.errors import LazarusError

_NO_CLASSES = (
    "nothing says what is trained, and on what: give a config with -c, such as "
    "configs/heads/mlp.yaml"
)

_FEW = 12
_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "list": "a list",
    "dict": "keys with values",
    "tuple": "a list in brackets, such as [a, b]",
}
_OF_THE_PARSER = ("config", "print_config", "print_shtab")

# lines in which a parser tells what it tried, not what is wrong
_ACCOUNT = (
    "Does not validate",
    "Subtypes:",
    "Errors:",
    "Given value",
    "Expected a <class 'NoneType'>",
    "Not a valid subclass",
    "Subclass types expect",
    "a class path (str)",
    "a dict with",
)
# what a parser inside a parser found out says more than anything that the outer one adds
_TELLING = (r"^there is no ", r" (?:is|are) missing: ", r"^[\w.]+: ", r"dot import path")
_OF_CONFIGS = (".yaml", ".yml", ".json")
# what stands for a class that nobody named
_ANY_CLASS = ("lightning.LightningDataModule", "lightning.LightningModule")


class VerbParser(ArgumentParser):
    """A jsonargparse parser that raises :class:`LazarusError` instead of printing its usage.

    Its configs name no classes but those that are allowed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # passed on as it is
        allow_classes()
        super().__init__(*args, **kwargs)

    @property
    def known_options(self) -> list[str]:
        """Option strings that a mistyped one may have meant."""
        return describe_options(self)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the mistake as one sentence.

        Raises:
            LazarusError: Always.
        """
        raise LazarusError(one_sentence(message, self.known_options)) from ex

    def parse_path(
        self,
        path: str | os.PathLike[str],
        ext_vars: dict[str, object] | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **options: object,
    ) -> Namespace:
        """Reads a config file.

        Raises:
            LazarusError: If it is not as it must be; its name stands in the sentence.
        """
        try:
            parsed: Namespace = super().parse_path(path, ext_vars, env, defaults, **options)
            return parsed
        except UnicodeDecodeError as error:
            raise LazarusError(
                f"the config file '{path}' is not UTF-8 text: name a YAML file, or save it as UTF-8"
            ) from error
        except LazarusError as error:
            raise LazarusError(f"in '{path}': {error}") from error

    def let_flags_stand_alone(self) -> None:
        """Makes ``--flag`` mean ``--flag true`` for every yes-or-no option."""
        for action in self._actions:
            if getattr(action, "_typehint", None) in (bool, bool | None):
                action.nargs, action.const = "?", True


def one_sentence(message: str, options: list[str]) -> str:
    """What a parser has to say, without its list of everything it tried.

    Args:
        message: jsonargparse's message.
        options: Option strings of the parser, for a suggestion.
    """
    if unknown := re.search(r"unrecognized arguments: ([^\s=]+)", message):
        return _no_option(unknown[1], options)
    if missing := re.match(r"the following arguments are required: (.*)", message):
        names = missing[1].split(", ")
        if names[0].endswith((".data", ".model")):
            return _NO_CLASSES
        return _missing([f"--{n}" if f"--{n}" in options else n.upper() for n in names])
    if bare := re.match(r"argument (\S+): expected one argument", message):
        return f"{bare[1]} needs a value after it"
    if group := re.match(r'Parser key "([\w.]+)":\s+Unable to load config \'(.*)\'', message):
        return _no_group(group[1], group[2], options)
    if key := _unknown_key(message):
        keys = [option.removeprefix("--") for option in options if option.startswith("--")]
        return f"there is no config key '{key}'{suggestion(key, keys)}"
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", message):
        if denied[1] in _ANY_CLASS:
            return _NO_CLASSES
        if denied[1].endswith(_OF_CONFIGS):
            return _no_file(denied[1])
        return (
            f"a config may not name '{denied[1]}': if it is yours, allow its package in the "
            f"environment variable {VARIABLE}"
        )
    if message.startswith("Problems parsing config"):
        return _no_yaml(message)
    if unexpected := re.match(r"Unexpected config: (.*)", message):
        is_empty = not unexpected[1] or unexpected[1].startswith("#")
        found = "and this one is empty" if is_empty else f"not '{unexpected[1]}'"
        return f"a config file holds keys with values, {found}"
    if path := re.search(r"Expected a path but (.+) either not accessible", message):
        return _no_file(path[1])
    if lost := re.search(r"(?:File|Path) (does not exist|is not a file): (.*)", message):
        key = _key_and_rest(message)[0]
        option = "-c" if key == "config" else f"--{key}"
        return f"{lost[2]} {lost[1]}: name a YAML file with {option}"
    return _sentence(message)


def _no_option(word: str, options: list[str]) -> str:
    if not word.startswith("-"):
        return (
            f"'{word}' belongs to no option: put the option's name before it, and quotes around a "
            "value with spaces"
        )
    return f"there is no option {word}{suggestion(word, options)}"


def _missing(names: Sequence[str]) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"{' and '.join(names)} {verb} missing: --help says what is meant"


def _no_file(path: str) -> str:
    return f"'{path}' does not exist: name a YAML file, or single values"


def _no_group(group: str, value: str, options: list[str]) -> str:
    inner = [option for option in options if option.startswith(f"--{group}.")]
    return (
        f"--{group} takes a YAML file, and '{value}' is none: its single values are "
        f"{', '.join(inner)}"
    )


def suggestion(word: str, known: list[str]) -> str:
    """``, did you mean '...'?`` if a known word is near, else all that are known, or a hint."""
    if near := _meant(word, known):
        return f", did you mean '{near}'?"
    plain = [name for name in known if name not in _OF_THE_PARSER]
    plain = [name for name in plain if not name.endswith(("+", "help"))]
    return (
        f": there are {', '.join(plain)}" if 0 < len(plain) <= _FEW else "; --help lists them all"
    )


def describe_options(parser: ArgumentParser) -> list[str]:
    """All option strings of a parser, and of its verbs."""
    return [
        option
        for action in parser._actions
        for option in (
            *action.option_strings,
            *(o for verb in _verbs(action) for o in describe_options(verb)),
        )
    ]


def _verbs(action: Action) -> Sequence[ArgumentParser]:
    return list((getattr(action, "_name_parser_map", None) or {}).values())


def _unknown_key(message: str) -> str:
    if inside := re.search(r"(\w+) '([\w.]+)' does not accept option '([\w.]+)'", message):
        return f"{inside[2]}.{inside[3]}" if inside[1] == "Group" else inside[3]
    found = re.search(
        r"(?:Key|Option|option) ['\"]?([\w.]+)['\"]? is not (?:expected|accepted)", message
    )
    return found[1] if found else ""


def _meant(word: str, known: Sequence[str]) -> str:
    """The known word or dotted key that was meant; its first part is looked at before the rest."""
    known = [name for name in known if name != "--help"]
    last = [name for name in known if name.endswith(f".{word.lstrip('-')}")]
    if last:
        return last[0]
    first = word.partition(".")[0]
    firsts = sorted({name.partition(".")[0] for name in known})
    if first in firsts:
        known = [name for name in known if name.partition(".")[0] == first]
        near = nearest(word, known)
    else:
        near = nearest(first, firsts) or nearest(word, known)
    return near[0] if near else ""


def _no_yaml(message: str) -> str:
    what = " ".join(line.strip() for line in message.splitlines()[:2])
    where = re.search(r" at line \d+", message.replace(", line", " at line"))
    return what.replace("Problems parsing config", f"no YAML{where[0] if where else ''}")


def _sentence(message: str) -> str:
    key, message = _key_and_rest(message)
    lines = [line.strip(" -\t") for line in message.splitlines() if line.strip(" -\t")]
    told = [
        re.sub(r'^Parser key "([\w.]+)":', r"\1:", line)
        for line in lines
        if not line.startswith(_ACCOUNT)
    ]
    text = _most_telling(told) or _expected(told, message) or " ".join(told[:2])
    joint = ".init_args." if re.search(r"NestedArg\(|class_path", message) else "."
    if needed := re.match(r"(.*) (?:is|are) missing: ", text):
        names = [name.removeprefix("--").lower() for name in needed[1].split(" and ")]
        return _missing([f"--{key}{joint}{name}" for name in names])
    if inner := re.match(r"([\w.]+): (.*)", text):
        key, text = (f"{key}{joint}{inner[1]}" if key else inner[1]), inner[2]
    text = re.sub(r"Expected a dot import path string: (.*)", r"there is no class '\1'", text)
    return f"{key}: {text}" if key and text else text or key or "the command line is not valid"


def _key_and_rest(message: str) -> tuple[str, str]:
    found = re.match(r'Parser key "([\w.]+)":(.*)', message, re.DOTALL)
    return (found[1], found[2]) if found else ("", message)


def _most_telling(lines: Sequence[str]) -> str:
    for pattern in _TELLING:
        for line in lines:
            if re.search(pattern, line):
                return line
    return ""


def _expected(lines: Sequence[str], message: str) -> str:
    """``expected a number or a text, got 'x'``, or nothing where that is not what is said."""
    found = [re.match(r"Expected an? (.+?)(?:\. Got value: (.*))?$", line) for line in lines]
    kinds = list(dict.fromkeys(_kind(each[1]) for each in found if each))
    if not kinds:
        return ""
    value = next((each[2] for each in found if each and each[2]), None)
    if value is None and (given := re.search(r"Given value: (.*)", message)):
        value = given[1]
    what = " or ".join(part for part in (", ".join(kinds[:-1]), kinds[-1]) if part)
    return f"expected {what}" + (f", got '{value}'" if value is not None else "")


def _kind(text: str) -> str:
    if name := re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>", text):
        return _KINDS.get(name[1], f"a {name[1]}")
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", text):
        return f"one of {choices[1]}"
    return f"a {text}"
