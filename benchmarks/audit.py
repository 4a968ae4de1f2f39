"""Photos a second of the audit's pass, against decoding the same photos on all cores and no more.

    python benchmarks/audit.py --data PHOTOS

The pass reads, hashes, decodes and measures every photo and writes its line; decoding alone reads
and decodes. Both use a thread a core. They take turns, and the best of each counts.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from report import report
from turns import best_of_turns

from lazarus_pl.audit.survey import survey_photos
from lazarus_pl.data.decode import open_photo, read_bytes
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="class folders; drawn leaves by default")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        root, listed = list_photos(options.data or ProceduralLeaves().write(work / "drawn"))

        def decode() -> None:
            for _ in ordered_map(lambda item: open_photo(read_bytes(root / item.path)), listed):
                pass

        def survey() -> None:
            shutil.rmtree(work / "audit", ignore_errors=True)
            (work / "audit").mkdir()
            survey_photos(root, listed, work / "audit")

        def again() -> None:
            survey_photos(root, listed, work / "audit")

        steps: dict[str, Callable[[], None]] = {
            "decoding alone, all cores": decode,
            "the audit's pass": survey,
            "the audit's pass, a second time": again,
        }
        best = best_of_turns(steps, options.repeats)
    alone = best["decoding alone, all cores"].seconds
    report(
        "audit",
        [
            {
                "what": name,
                "photos_per_second": len(listed) / taken.seconds,
                "ratio_to_decoding": alone / taken.seconds,
            }
            for name, taken in best.items()
        ],
        {"photos": len(listed), "repeats": options.repeats, "taken": "the best of the repeats"},
    )


if __name__ == "__main__":
    main()
