"""The verb ``lazarus demo``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.contact_sheet import contact_sheet
from lazarus_pl.data.procedural.procedural_leaves import LEAVES, ProceduralLeaves
from lazarus_pl.data.procedural.symptoms import SYMPTOMS
from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline.classify import classify
from lazarus_pl.pipeline.run.budget import Budget
from lazarus_pl.pipeline.run.run import run_chain
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.views.views_spec import ViewsSpec

_GALLERY = 4
# those of lazarus run
_VIEWS = ViewsSpec(3, "field")
# no drawing of these was trained on
_UNSEEN_SEED_OFFSET = 1_000_000
_SHEET_COLUMNS = 8


def demo(
    out: Path = Path("lazarus-demo"), leaves: float = 1.0, seed: int = 0, time: str = "190s"
) -> int:
    """Does the whole chain on drawn leaves: no photos, no network.

    Draws leaves of seven classes, does what lazarus run does with them, with real ImageNet weights,
    and classifies leaves that were never seen. A second call continues or repeats nothing.

    Args:
        out: Folder for everything.
        leaves: Factor of the number of leaves (154 at 1).
        seed: Another seed draws other leaves.
        time: Budget of the chain: late stages are shortened or left out to keep within it.
    """
    if seed < 0 or leaves <= 0:
        wrong = f"seed {seed}" if seed < 0 else f"leaves {leaves}"
        raise LazarusError(f"{wrong} cannot be: give a --seed of 0 or more and --leaves above 0")
    budget = Budget(time)
    started = monotonic()
    dataset = ProceduralLeaves(_leaves(leaves), seed=seed)
    with _step(f"1/3 drawing {len(dataset)} photos of {len(SYMPTOMS)} classes"):
        photos = dataset.write(out / "leaves")
        _draw_sheet(dataset, out / "leaves.png")
    again = f"lazarus demo --out '{out}' --leaves {leaves:g} --seed {seed} --time {time}"
    settings = RunSettings(
        photos,
        out / "run",
        views=_VIEWS,
        budget=budget,
        gallery=_GALLERY,
        command=again,
    )
    print("2/3 the whole chain: lazarus run ...", flush=True)
    # tells how long it took, or what failed
    if code := run_chain(settings):
        return code
    print()
    print((out / "run" / "grid" / "leaderboard.md").read_text(encoding="utf-8"))
    with _step("3/3 classifying leaves that nobody has seen"):
        unseen = ProceduralLeaves(
            dict.fromkeys(SYMPTOMS, 3), photos_per_leaf=(1, 1), seed=seed + _UNSEEN_SEED_OFFSET
        )
        folder = unseen.write(out / "unseen")
        classify(out / "run" / "best.ckpt", folder, out / "predictions.csv")
    print(_what_next(out, monotonic() - started))
    return 0


def _leaves(factor: float) -> Mapping[str, int]:
    return {label: max(4, round(count * factor)) for label, count in LEAVES.items()}


def _draw_sheet(dataset: ProceduralLeaves, path: Path) -> None:
    if path.exists():
        return
    rows = {
        label: [
            dataset.draw(index).pixels
            for index, shot in enumerate(dataset.shots)
            if shot.label == label and shot.number == 1
        ][:_SHEET_COLUMNS]
        for label in SYMPTOMS
    }
    with replace_file(path) as file:
        contact_sheet(rows).save(file, "PNG")


@contextmanager
def _step(title: str) -> Iterator[None]:
    started = monotonic()
    print(f"{title} ...", flush=True)
    yield
    print(f"    done in {monotonic() - started:.0f} s\n", flush=True)


def _what_next(out: Path, seconds: float) -> str:
    run = out / "run"
    return f"""All of it took {seconds:.0f} s. Where things lie:
  {run / "report.html"}        how good the model is, and how far to trust it
  {run / "summary.json"}       the same figures for programs
  {run / "best.ckpt"}          the model: encoder identity, statistics, class names
  {out / "leaves.png"}             what was drawn
  {out / "predictions.csv"}        what it says of unseen leaves

What to type next:
  tensorboard --logdir {run}
  lazarus run --data YOUR_CLASS_FOLDERS --out RUN
  lazarus classify --ckpt RUN/best.ckpt --data NEW_PHOTOS
The model of this demo knows drawn leaves only: it diagnoses no real ones."""
