from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.extraction import Extraction, ExtractionSummary
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cache.job_file import JobFile
from lazarus_pl.cache.job_plan import JobPlan, Row
from lazarus_pl.cache.photo_extraction import PhotoExtraction
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.split.split_spec import SplitSpec, Strategy
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.measured_engine import Candidate, MeasuredEngine
from lazarus_pl.errors import LazarusError
from tests.cache.engines import MeanColourEngine
from tests.cache.short_of_memory import short_of_memory
from tests.conftest import save_noise

Noise = Callable[..., Path]

SLOW = """
import signal, sys
# a shell's background jobs, and what they start, ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from tests.cache.engines import MeanColourEngine
data, out = map(Path, sys.argv[1:])
engine = MeanColourEngine(seconds=0.3)
spec = EncoderSpec(weights="random")
summary = Extraction(data, out, spec, SplitSpec(), lambda _: engine).run()
print("extracted", summary.extracted)
"""


def extract(data: Path, out: Path, engine: MeanColourEngine | None = None) -> ExtractionSummary:
    engine = engine or MeanColourEngine()
    return Extraction(data, out, EncoderSpec(weights="random"), SplitSpec(), lambda _: engine).run()


def all_features(out: Path) -> dict[str, np.ndarray]:
    cache = FeatureCache(out)
    values = cache.gather("grid32", range(len(cache.manifest.photos)))
    return {photo.path: row for photo, row in zip(cache.manifest.photos, values, strict=True)}


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for path, values in left.items():
        np.testing.assert_allclose(values, right[path], atol=1e-3)


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", SLOW, str(data), str(out)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    )


def wait_for_jobs(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(list((out / "jobs").glob("*.npz"))) < count:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_features_are_those_of_the_photos_in_their_rows(noise: Noise, tmp_path: Path) -> None:
    from lazarus_pl.data.decode import read_pixels

    data = noise({"a": 70, "b": 30})
    summary = extract(data, tmp_path / "cache")
    assert (summary.photos, summary.classes, summary.extracted) == (100, 2, 100)
    plan = JobPlan.read(tmp_path / "cache" / "jobs.csv")
    assert [len(job) for job in plan.jobs] == [64, 36]
    for path, values in all_features(tmp_path / "cache").items():
        pixels = read_pixels((data / path).read_bytes(), 16)
        expected = MeanColourEngine().encode(pixels[None])["grid32"][0]
        np.testing.assert_array_equal(values, expected)


def test_a_second_call_does_nothing_and_needs_no_encoder(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 70, "b": 30})
    extract(data, tmp_path / "cache")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "jobs").iterdir()}
    engine = MeanColourEngine()
    again = extract(data, tmp_path / "cache", engine)
    assert (again.extracted, engine.encoded) == (0, 0)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "jobs").iterdir()} == before


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_killed_and_resumed_equals_never_killed(how: str, noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 250, "b": 70})
    process = start(data, tmp_path / "cache")
    wait_for_jobs(tmp_path / "cache", 2, process)
    process.send_signal(getattr(signal, how))
    process.communicate()
    assert process.returncode != 0
    with pytest.raises(LazarusError, match="unfinished"):
        FeatureCache(tmp_path / "cache")
    engine = MeanColourEngine()
    summary = extract(data, tmp_path / "cache", engine)
    assert summary.photos == 320
    assert engine.encoded <= 320 - 2 * 64
    extract(data, tmp_path / "whole")
    assert_same(all_features(tmp_path / "cache"), all_features(tmp_path / "whole"))
    assert not list((tmp_path / "cache" / "jobs").glob("*.tmp")) or how == "SIGKILL"


def test_two_processes_share_the_work(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 300, "b": 84})
    first, second = start(data, tmp_path / "cache"), start(data, tmp_path / "cache")
    counts = []
    for process in (first, second):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        counts.append(int(out.split()[-1]))
    assert sum(counts) == 384
    assert min(counts) > 0
    extract(data, tmp_path / "whole")
    assert_same(all_features(tmp_path / "cache"), all_features(tmp_path / "whole"))


def test_adding_photos_extracts_only_them_and_moves_nothing(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 70, "b": 30})
    extract(data, tmp_path / "cache")
    before = {p.path: p.split for p in FeatureCache(tmp_path / "cache").manifest.photos}
    for number in range(100, 105):
        save_noise(data / "a" / f"IMG_{number:04d}.png")
    engine = MeanColourEngine()
    summary = extract(data, tmp_path / "cache", engine)
    assert (summary.photos, engine.encoded) == (105, 5)
    after = {p.path: p.split for p in FeatureCache(tmp_path / "cache").manifest.photos}
    assert {path: after[path] for path in before} == before


def test_removed_and_changed_photos(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 40, "b": 40})
    extract(data, tmp_path / "cache")
    (data / "a" / "IMG_0003.png").unlink()
    save_noise(data / "b" / "IMG_0004.png", size=30)
    engine = MeanColourEngine()
    summary = extract(data, tmp_path / "cache", engine)
    assert (summary.photos, engine.encoded) == (79, 1)
    extract(data, tmp_path / "whole")
    assert_same(all_features(tmp_path / "cache"), all_features(tmp_path / "whole"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign"])
def test_a_damaged_job_is_found_and_done_again(damage: str, noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 80, "b": 80})
    extract(data, tmp_path / "cache")
    whole = all_features(tmp_path / "cache")
    path = tmp_path / "cache" / "jobs" / "00001.npz"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[300] ^= 255
        path.write_bytes(content)
    else:
        JobFile("another key", "", {"pooled": np.zeros((64, 3), np.float16)}).write(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(LazarusError, match=r"00001\.npz' is damaged"):
        FeatureCache(tmp_path / "cache")
    engine = MeanColourEngine()
    extract(data, tmp_path / "cache", engine)
    assert engine.encoded == 64
    assert_same(all_features(tmp_path / "cache"), whole)


@pytest.mark.parametrize("verify", [False, True])
def test_swapped_jobs_are_done_again(verify: bool, noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 64, "b": 64})
    extract(data, tmp_path / "cache")
    whole = all_features(tmp_path / "cache")
    first, second = (tmp_path / "cache" / "jobs" / f"0000{n}.npz" for n in (0, 1))
    first.rename(tmp_path / "held")
    second.rename(first)
    (tmp_path / "held").rename(second)
    os.utime(first, ns=(1, 1))
    os.utime(second, ns=(2, 2))
    engine = MeanColourEngine()
    spec = EncoderSpec(weights="random")
    Extraction(data, tmp_path / "cache", spec, SplitSpec(), lambda _: engine).run(verify)
    assert engine.encoded == 128
    assert_same(all_features(tmp_path / "cache"), whole)


def test_a_lost_plan_never_gives_a_photo_the_features_of_another(
    noise: Noise, tmp_path: Path
) -> None:
    data = noise({"a": 70, "b": 70})
    extract(data, tmp_path / "cache")
    noise({"a0": 5})
    extract(data, tmp_path / "cache")
    (tmp_path / "cache" / "jobs.csv").unlink()
    extract(data, tmp_path / "cache")
    extract(data, tmp_path / "whole")
    assert_same(all_features(tmp_path / "cache"), all_features(tmp_path / "whole"))


def test_what_a_kill_left_does_not_stop_the_next_call(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 20, "b": 20})
    out = tmp_path / "cache"
    (out / "jobs").mkdir(parents=True)
    left = [out / f"manifest.csv.{'0' * 32}.tmp", out / "jobs" / f"00000.npz.{'f' * 32}.tmp"]
    for path in left:
        path.write_bytes(b"half")
    extract(data, out)
    assert all(path.exists() for path in left), "another process may be writing them"
    for path in left:
        os.utime(path, (1, 1))
    extract(data, out)
    assert not any(path.exists() for path in left)


def test_photos_that_vanish_meanwhile_are_told_and_the_cache_is_whole(
    noise: Noise, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = noise({"a": 40, "b": 40})

    class Deletes(MeanColourEngine):
        def encode(self, photos: np.ndarray) -> dict[str, np.ndarray]:
            (data / "b" / "IMG_0039.png").unlink(missing_ok=True)
            return super().encode(photos)

    # the last photo is decoded when the first batches are encoded only if they are small
    engine = Deletes()
    engine.batch_size = 1
    many = noise({"a": 150})
    summary = extract(many, tmp_path / "cache", engine)
    assert summary.photos == 189
    assert "vanished, changed or could not be read" in caplog.text
    assert len(all_features(tmp_path / "cache")) == 189


def sides_of(cache: Path) -> dict[str, str]:
    return {photo.path: photo.split for photo in FeatureCache(cache).manifest.photos}


def divided(data: Path, out: Path, strategy: Strategy) -> ExtractionSummary:
    split = SplitSpec(strategy)
    spec = EncoderSpec(weights="random")
    return Extraction(data, out, spec, split, lambda _: MeanColourEngine()).run()


def test_sides_of_one_split_are_not_kept_for_another_after_an_interruption(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = noise({"a": 60, "b": 60}), tmp_path / "cache"
    divided(data, out, "leaf")
    by_leaf = sides_of(out)
    write = CacheHeader.write

    def interrupted(header: CacheHeader, folder: Path) -> None:
        if header.split.get("strategy") == "random":
            raise KeyboardInterrupt
        write(header, folder)

    monkeypatch.setattr(CacheHeader, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        divided(data, out, "random")
    monkeypatch.undo()
    divided(data, out, "leaf")
    assert sides_of(out) == by_leaf


def test_a_mistake_costs_no_sides(noise: Noise, tmp_path: Path) -> None:
    data, out = noise({"a": 60, "b": 60}), tmp_path / "cache"
    divided(data, out, "leaf")
    # later photos are divided among themselves: all anew, sides would be others
    noise({"a": 90, "b": 90})
    divided(data, out, "leaf")
    before = sides_of(out)
    with pytest.raises(LazarusError, match="finds no group"):
        divided(data, out, "grouped")
    divided(data, out, "leaf")
    assert sides_of(out) == before


def test_who_is_slower_does_not_take_another_calls_labels_for_its_own(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = noise({"a": 60, "b": 60}), tmp_path / "cache"
    run, calls = PhotoExtraction.run, iter(range(9))

    def relabelled(label: str) -> str:
        spec, corrections = EncoderSpec(weights="random"), Corrections({"a/IMG_0000.png": label})
        engine = MeanColourEngine()
        words = (data, out, spec, SplitSpec(), lambda _: engine)
        Extraction(*words, corrections=corrections).run()
        photos = FeatureCache(out).manifest.photos
        return next(photo.label for photo in photos if photo.path == "a/IMG_0000.png")

    def overtaken(self: PhotoExtraction, *words: Any) -> int:  # noqa: ANN401
        done = run(self, *words)
        if next(calls) == 0:
            relabelled("a")
        return done

    monkeypatch.setattr(PhotoExtraction, "run", overtaken)
    assert relabelled("b") == "a"
    assert relabelled("b") == "b"


@pytest.mark.parametrize("more", [False, True])
def test_who_is_slower_does_not_write_over_another_division(
    more: bool,
    noise: Noise,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data, out = noise({"a": 60, "b": 60}), tmp_path / "cache"
    run, calls = PhotoExtraction.run, iter(range(9))

    def overtaken(self: PhotoExtraction, *words: Any) -> int:  # noqa: ANN401
        done = run(self, *words)
        if next(calls) == 0:
            if more:
                noise({"a": 70})
            divided(data, out, "random" if more else "leaf")
        return done

    monkeypatch.setattr(PhotoExtraction, "run", overtaken)
    divided(data, out, "random")
    assert "another process has listed or divided" in caplog.text
    after = sides_of(out)
    assert len(after) == (130 if more else 120)
    if not more:
        divided(data, tmp_path / "other", "leaf")
        assert after == sides_of(tmp_path / "other")
    # asked again, the call is not told that all is as it left it
    again = divided(data, out, "random")
    assert (again.extracted, sides_of(out) == after) == (0, more)


def test_a_passing_want_of_memory_is_no_reason_to_give_a_photo_up(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise({"a": 40, "b": 40})
    short_of_memory(monkeypatch, 7)
    first = extract(data, tmp_path / "cache")
    assert (first.photos, first.quarantined) == (79, 1)
    (rejected,) = FeatureCache(tmp_path / "cache").manifest.quarantine
    assert rejected.reason == "needs more memory than there is"
    again = extract(data, tmp_path / "cache")
    assert (again.photos, again.quarantined, again.extracted) == (80, 0, 1)
    assert len(all_features(tmp_path / "cache")) == 80


def test_precisions_do_not_mix(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 64, "b": 64})
    extract(data, tmp_path / "cache")
    (tmp_path / "cache" / "jobs" / "00001.npz").unlink()
    engine = MeanColourEngine()
    engine.precision = "bf16"
    with pytest.raises(LazarusError, match="made in precision 32, this call would go on in bf16"):
        extract(data, tmp_path / "cache", engine)


def test_verify_finds_damage_that_keeps_size_and_time(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 40, "b": 40})
    extract(data, tmp_path / "cache")
    path = tmp_path / "cache" / "jobs" / "00000.npz"
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    engine = MeanColourEngine()
    spec = EncoderSpec(weights="random")
    Extraction(data, tmp_path / "cache", spec, SplitSpec(), lambda _: engine).run(verify=True)
    assert engine.encoded == 64


def test_a_full_disk_is_a_sentence_and_keeps_what_is_done(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise({"a": 150, "b": 80})
    write = JobFile.write

    def fail_at_the_third(self: JobFile, path: Path) -> None:
        if path.name == "00002.npz":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(self, path)

    monkeypatch.setattr(JobFile, "write", fail_at_the_third)
    with pytest.raises(LazarusError, match="is full"):
        extract(data, tmp_path / "cache")
    monkeypatch.undo()
    engine = MeanColourEngine()
    extract(data, tmp_path / "cache", engine)
    # the fourth job may have been on its way
    assert engine.encoded in (64, 230 - 2 * 64)


def test_too_little_room_is_said_before_starting(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(LazarusError, match=r"need .* MB"):
        extract(noise({"a": 10, "b": 10}), tmp_path / "cache")


def test_a_photo_that_breaks_after_the_scan_is_quarantined(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.data.decode import PhotoError, read_pixels
    from lazarus_pl.encoder import windows_spec

    data = noise({"a": 30, "b": 30})
    broken = (data / "a" / "IMG_0007.png").read_bytes()

    def fail_on_one(data: bytes, *options: object) -> np.ndarray:
        if data == broken:
            raise PhotoError("cannot be decoded: tiles are missing")
        return read_pixels(data, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(windows_spec, "read_pixels", fail_on_one)
    summary = extract(data, tmp_path / "cache")
    assert (summary.photos, summary.quarantined) == (59, 1)
    assert "tiles are missing" in (tmp_path / "cache" / "quarantine.csv").read_text()
    assert "a/IMG_0007.png" not in all_features(tmp_path / "cache")


def test_another_encoder_is_refused_and_nothing_is_lost(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 30, "b": 30})
    extract(data, tmp_path / "cache")
    whole = all_features(tmp_path / "cache")
    spec = EncoderSpec("test_resnet", weights="random")
    with pytest.raises(LazarusError, match="was made by encoder 'mean colour'"):
        Extraction(
            data, tmp_path / "cache", spec, SplitSpec(), lambda _: MeanColourEngine("other")
        ).run()
    assert_same(all_features(tmp_path / "cache"), whole)


def test_a_folder_with_other_things_is_not_written_to(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 30, "b": 30})
    with pytest.raises(LazarusError, match="holds other files"):
        extract(data, data)
    assert {p.name for p in data.iterdir()} == {"a", "b"}


def test_values_that_float16_cannot_hold_are_refused(noise: Noise, tmp_path: Path) -> None:
    class Overflowing(MeanColourEngine):
        def encode(self, photos: np.ndarray) -> dict[str, np.ndarray]:
            features = super().encode(photos)
            features["pooled"][0] = np.inf
            return features

    with pytest.raises(LazarusError, match="float16 cannot hold"):
        extract(noise({"a": 10, "b": 10}), tmp_path / "cache", Overflowing())


def test_copies_of_a_photo_share_their_row(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 40, "b": 40})
    (data / "a" / "IMG_0011 copy.png").write_bytes((data / "a" / "IMG_0011.png").read_bytes())
    engine = MeanColourEngine()
    summary = extract(data, tmp_path / "cache", engine)
    assert (summary.photos, engine.encoded) == (81, 80)
    features = all_features(tmp_path / "cache")
    assert np.array_equal(features["a/IMG_0011 copy.png"], features["a/IMG_0011.png"])


def test_the_plan_has_room_for_views(tmp_path: Path) -> None:
    plan = JobPlan().extended([Row("x"), Row("x", 1), Row("y")], 2)
    plan.write(tmp_path / "jobs.csv")
    assert JobPlan.read(tmp_path / "jobs.csv") == plan
    assert plan.jobs == ((Row("x"), Row("x", 1)), (Row("y"),))


def test_the_cache_travels_to_another_process(noise: Noise, tmp_path: Path) -> None:
    import pickle

    extract(noise({"a": 30, "b": 40}), tmp_path / "cache")
    cache = FeatureCache(tmp_path / "cache")
    here = cache.gather("pooled", [3, 1, 60, 3])
    there = pickle.loads(pickle.dumps(cache)).gather("pooled", [3, 1, 60, 3])
    assert np.array_equal(here, there)
    assert np.array_equal(here[0], here[3])


def test_an_unknown_layer_is_named(noise: Noise, tmp_path: Path) -> None:
    extract(noise({"a": 30, "b": 40}), tmp_path / "cache")
    with pytest.raises(LazarusError, match="keeps no layer 'grid16', only pooled, grid32"):
        FeatureCache(tmp_path / "cache").gather("grid16", [0])


def after_the_scan(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Lets something happen to the data between the scan and the extraction."""
    from lazarus_pl.cache import extraction

    build = extraction.build_manifest

    def build_and_change(*arguments: object) -> object:
        built = build(*arguments)  # type: ignore[arg-type]
        change()
        return built

    monkeypatch.setattr(extraction, "build_manifest", build_and_change)


def test_a_job_replaced_while_a_reader_is_open_is_noticed(noise: Noise, tmp_path: Path) -> None:
    extract(noise({"a": 90, "b": 90}), tmp_path / "cache")
    cache = FeatureCache(tmp_path / "cache")
    jobs = tmp_path / "cache" / "jobs"
    (jobs / "00001.npz").replace(jobs / "00000.npz")
    with pytest.raises(LazarusError, match="holds other photos"):
        cache.gather("pooled", [0])


def test_data_that_vanish_as_a_whole_are_a_sentence(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise({"a": 40, "b": 40})
    after_the_scan(monkeypatch, lambda: data.rename(tmp_path / "unplugged"))
    with pytest.raises(LazarusError, match="none of the 80 photos gave features"):
        extract(data, tmp_path / "cache")
    monkeypatch.undo()
    (tmp_path / "unplugged").rename(data)
    assert extract(data, tmp_path / "cache").photos == 80


def test_a_cache_without_a_job_takes_another_precision(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 10, "b": 10})
    extract(data, tmp_path / "cache")
    (tmp_path / "cache" / "jobs" / "00000.npz").unlink()
    engine = MeanColourEngine()
    engine.precision = "bf16"
    extract(data, tmp_path / "cache", engine)
    assert FeatureCache(tmp_path / "cache").header.precision == "bf16"


def test_engines_stand_in_the_header(noise: Noise, tmp_path: Path) -> None:
    data, out = noise({"a": 64, "b": 64}), tmp_path / "cache"
    extract(data, out, named("first"))
    assert CacheHeader.read(out).engines == ({"name": "first", "device": "cpu", "measured": {}},)
    (out / "jobs" / "00001.npz").unlink()
    # in float32 they agree
    extract(data, out, named("second"))
    assert [each["name"] for each in CacheHeader.read(out).engines] == ["first", "second"]
    extract(data, out, named("third"))
    assert len(CacheHeader.read(out).engines) == 2


def test_engines_do_not_mix_in_reduced_precision(noise: Noise, tmp_path: Path) -> None:
    data, out = noise({"a": 64, "b": 64}), tmp_path / "cache"
    extract(data, out, named("first", "bf16"))
    (out / "jobs" / "00001.npz").unlink()
    with pytest.raises(LazarusError, match=r"made by first in precision bf16.*--engine first"):
        extract(data, out, named("second", "bf16"))
    # a choice among engines keeps to the one that began
    slow, quick = named("first", "bf16", 0.01), named("second", "bf16")
    candidates = [
        Candidate(each.name, lambda each=each: each, precision="bf16") for each in (quick, slow)
    ]
    chosen = MeasuredEngine(slow, candidates)
    extract(data, out, chosen)
    assert (chosen.name, quick.encoded) == ("first", 0)


def test_the_choice_among_engines_is_written_down_and_made_once(
    noise: Noise, tmp_path: Path
) -> None:
    data, out = noise({"a": 64, "b": 64}), tmp_path / "cache"
    slow, quick = named("slow", seconds=0.01), named("quick")
    candidates = [Candidate(each.name, lambda each=each: each) for each in (slow, quick)]
    extract(data, out, MeasuredEngine(slow, candidates))
    (record,) = CacheHeader.read(out).engines
    assert record["name"] == "quick"
    assert record["measured"]["photos"] == 16
    assert record["measured"]["engines"]["quick"]["worst_cosine"] == 1
    assert set(record["measured"]["engines"]) == {"slow", "quick"}
    assert quick.encoded > 128 > slow.encoded
    before = CacheHeader.read(out)
    extract(data, out)
    assert CacheHeader.read(out) == before


def test_a_cache_from_before_engines_were_written_down(noise: Noise, tmp_path: Path) -> None:
    data, out = noise({"a": 64, "b": 64}), tmp_path / "cache"
    extract(data, out, named("torch", "bf16"))
    header = json.loads((out / "cache.json").read_text())
    del header["engines"]
    (out / "cache.json").write_text(json.dumps(header))
    (out / "jobs" / "00001.npz").unlink()
    with pytest.raises(LazarusError, match="made by torch in precision bf16"):
        extract(data, out, named("openvino", "bf16"))
    extract(data, out, named("torch", "bf16"))
    assert [each["name"] for each in CacheHeader.read(out).engines] == ["torch"]


def named(name: str, precision: str = "32", seconds: float = 0.0) -> MeanColourEngine:
    """The same encoder run by another engine."""
    engine = MeanColourEngine(seconds=seconds)
    engine.name, engine.precision = name, precision
    return engine
