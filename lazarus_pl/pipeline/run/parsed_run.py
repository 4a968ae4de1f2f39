"""A training that is only looked at."""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser

from lazarus_pl.lightning_cli import LazarusCLI


class ParsedRun(LazarusCLI):
    """A command line that is looked at; nothing is built or run.

    Args:
        args: The command line of ``lazarus fit``.

    Raises:
        LazarusError: If it is not as it must be.
    """

    def init_parser(self, **kwargs: object) -> LightningArgumentParser:
        """Takes keys as they are written: who else reads a config knows no abbreviations."""
        return super().init_parser(**{**kwargs, "allow_abbrev": False})

    def instantiate_classes(self) -> None:
        """Builds nothing."""

    def after_instantiate_classes(self) -> None:
        """Finds no checkpoint."""

    def _set_seed(self) -> None:
        """Leaves the random numbers of the process alone."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Trains nothing."""
