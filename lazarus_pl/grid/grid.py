"""Many runs on one cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lazarus_pl.data.folder_lock import FolderLock
from lazarus_pl.errors import LazarusError
from lazarus_pl.grid.cut_stacks import cut_stacks
from lazarus_pl.grid.grid_progress import GridProgress
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.grid_worker import GridWorker
from lazarus_pl.grid.leaderboard import Leaderboard
from lazarus_pl.grid.run_cost import run_cost
from lazarus_pl.grid.run_trainer import RunTrainer
from lazarus_pl.grid.shared_training import SharedTraining
from lazarus_pl.progress import Progress


class Grid:
    """Trains every run that has not been trained, and ranks them.

    A run is what ``lazarus fit`` with the same arguments would be, with a TensorBoard version of
    its own below ``out/runs``. Runs of the same data, seed and trainer share a pass over the data,
    and come out as they would have alone on as many cores. On a CPU a large grid is trained in two
    processes with half of the cores each. A run that fails is noted and does not stop the others.

    Args:
        runs: What to train.
        cache: The feature cache.
        out: Where everything is written.
        gpu_memory: What training may take of the GPU, such as ``4GB``; None for what there is.
    """

    def __init__(
        self, runs: Sequence[GridRun], cache: Path, out: Path, gpu_memory: str | None = None
    ) -> None:
        if not runs:
            raise LazarusError("the grid has no runs: name at least one config")
        self._runs = runs
        self._cache = cache
        self._out = out
        self._gpu_memory = gpu_memory
        self._trainer = RunTrainer(cache, out, gpu_memory)

    def run(self) -> Leaderboard:
        """Trains what is left to train and writes the leaderboard whenever runs are done.

        Raises:
            LazarusError: If another process is at work in the folder.
            OSError: If the disk is full or read-only.
        """
        with FolderLock(self._out, "grid"):
            self._trainer.results.forget_failed(self._runs)
            left = [run for run in self._runs if self._trainer.results.read(run) is None]
            with Progress("training", len(self._runs), "runs") as progress:
                progress.advance(len(self._runs) - len(left))
                self._train(left, progress)
            return self._write_board()

    def _train(self, left: Sequence[GridRun], shown: Progress) -> None:
        stacks = self._trainer.stacks(left)
        built = self._trainer.built
        costs = {name: run_cost(one) for name, one in built.items()}
        results = self._trainer.results
        progress = GridProgress(left, costs, results, shown, self._write_board)
        threads = torch.get_num_threads()
        if parts := cut_stacks(stacks, built, threads):
            worker = GridWorker(parts, self._cache, self._out, self._gpu_memory, threads // 2)
            SharedTraining(self._trainer, parts, worker, self._out).train(progress)
        else:
            for stack in stacks:
                self._trainer.train(stack, progress.of(stack))
                progress.look()

    def _write_board(self) -> Leaderboard:
        known = (self._trainer.results.read(run) for run in self._runs)
        board = Leaderboard([result for result in known if result is not None])
        board.write(self._out)
        return board
