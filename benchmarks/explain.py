"""Photos to maps and pictures, against photos to features.

    python benchmarks/explain.py --ckpt CKPT --data PHOTOS

The same photos, encoder and engine, in turns; the time to load them is not counted. Only attention
and evidence are asked for, so nothing is attributed. Seconds of the processor are those of all
threads; where others use the machine they say more than the clock's.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from report import report
from subset import subset
from turns import best_of_turns

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.explain.explanation_writer import ExplanationWriter
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.pipeline.classify import predict
from lazarus_pl.pipeline.explain import explain_all


def main() -> None:
    """Prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ckpt", type=Path, required=True, help="of the patch head")
    parser.add_argument("--data", type=Path, required=True, help="class folders")
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    classifier = Classifier(options.ckpt)
    engine = make_engine(EncoderSpec())
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        photos, listed = list_photos(subset(options.data, work / "photos", options.photos))

        def extract() -> None:
            shutil.rmtree(work / "cache", ignore_errors=True)
            split = SplitSpec("random")
            Extraction(photos, work / "cache", EncoderSpec(), split, lambda _: engine).run()

        def explain() -> None:
            shutil.rmtree(work / "explained", ignore_errors=True)
            writer = ExplanationWriter(work / "explained", classifier.class_names, "evidence")
            explain_all(classifier, writer, photos, listed, None, ("attention", "evidence"))
            writer.finish()

        steps: dict[str, Callable[[], object]] = {
            "lazarus extract": extract,
            "lazarus classify": lambda: list(predict(classifier, photos, listed)),
            "lazarus explain, attention and evidence": explain,
        }
        best = best_of_turns(steps, options.repeats)
    extraction = best["lazarus extract"]
    report(
        "explain",
        [
            {
                "what": name,
                "photos_per_second": len(listed) / taken.seconds,
                "processor_ms_a_photo": 1000 * taken.processor / len(listed),
                "speed_to_extraction": extraction.seconds / taken.seconds,
                "processor_speed_to_extraction": extraction.processor / taken.processor,
            }
            for name, taken in best.items()
        ],
        {
            "photos": len(listed),
            "repeats": options.repeats,
            "taken": "the best of the repeats",
            "engine": type(engine).__name__,
        },
    )


if __name__ == "__main__":
    main()
