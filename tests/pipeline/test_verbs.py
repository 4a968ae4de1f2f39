from __future__ import annotations

import csv
import shutil
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.doubt.verdict import Verdict
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.torch_engine import TorchEngine
from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline import classifier, demo
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.pipeline.classify import Prediction, said_of
from lazarus_pl.pipeline.run.grid_options import GridOptions
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.views.views_spec import ViewsSpec
from tests.conftest import Lazarus, save_noise


@pytest.fixture(scope="module")
def checkpoint(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lazarus_pl.grid.grid_spec import GridSpec
    from lazarus_pl.grid.run_grid import run_grid

    out = tmp_path_factory.mktemp("grid")
    spec = GridSpec({"mlp": shipped_config("heads/mlp.yaml").resolve()})  # type: ignore[dict-item]
    run_grid(spec, cache, out)
    return out / "best.ckpt"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_classify_folders_prints_scores_that_agree_with_the_table(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    out = tmp_path / "sub" / "p.csv"
    done = lazarus("classify", "--ckpt", checkpoint, "--data", drawn, "--out", out)
    assert done.code == 0, done.err
    table = rows(out)
    assert list(table[0]) == [
        *("file", "predicted", "probability", "answer", "candidates", "distance"),
        *("healthy", "late_blight", "rust", "reason"),
    ]
    assert [row["file"] for row in table] == sorted(
        path.relative_to(drawn).as_posix() for path in drawn.rglob("*.jpg")
    )
    labels = [row["file"].split("/")[0] for row in table]
    predicted = [row["predicted"] for row in table]
    assert f"accuracy {accuracy_score(labels, predicted):.4f}" in done.out
    assert f"macro-F1 {f1_score(labels, predicted, average='macro'):.4f}" in done.out
    assert accuracy_score(labels, predicted) > 0.6
    for row in table:
        values = {name: float(row[name]) for name in ("healthy", "late_blight", "rust")}
        assert sum(values.values()) == pytest.approx(1, abs=1e-4)
        assert max(values, key=lambda name: values[name]) == row["predicted"]


def test_classify_agrees_with_the_cache(
    checkpoint: Path, drawn: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    """The photo's way and the cache's way to a prediction are the same."""
    import torch

    from lazarus_pl.cache.feature_cache import FeatureCache
    from lazarus_pl.doubt.doubt import Doubt
    from lazarus_pl.tasks.load_task import load_task

    out = tmp_path / "p.csv"
    assert lazarus("classify", "--ckpt", checkpoint, "--data", drawn, "--out", out).code == 0
    features = FeatureCache(cache)
    task = load_task(checkpoint)
    pooled = torch.from_numpy(features.gather("pooled", range(len(features.manifest.photos))))
    with torch.no_grad():
        logits = task({"pooled": pooled})
    doubt = Doubt.of_checkpoint(checkpoint)
    assert doubt is not None
    probability = doubt.probabilities(logits)
    table = {row["file"]: row for row in rows(out)}
    for photo, values in zip(features.manifest.photos, probability, strict=True):
        for name, value in zip(task.class_names, values.tolist(), strict=True):
            assert float(table[photo.path][name]) == pytest.approx(value, abs=0.02)


def fine_and_broken(drawn: Path, place: Path) -> Path:
    """A folder with a photo, and the beginning of its file."""
    folder = place / "new"
    folder.mkdir()
    shutil.copy(next(drawn.rglob("*.jpg")), folder / "fine.jpg")
    (folder / "broken.jpg").write_bytes((folder / "fine.jpg").read_bytes()[:300])
    return folder


def test_classify_a_file_and_unreadable_ones(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    folder = fine_and_broken(drawn, tmp_path)
    (folder / "empty.png").write_bytes(b"")
    out = tmp_path / "p.csv"
    done = lazarus("classify", "--ckpt", checkpoint, "--data", folder, "--out", out)
    assert done.code == 0
    table = {row["file"]: row for row in rows(out)}
    assert table["fine.jpg"]["predicted"]
    for name in ("broken.jpg", "empty.png"):
        assert table[name]["predicted"] == ""
        assert table[name]["reason"]
    assert "macro-F1" not in done.out
    one = lazarus("classify", "--ckpt", checkpoint, "--data", folder / "fine.jpg", "--out", out)
    assert one.code == 0
    assert [row["file"] for row in rows(out)] == ["fine.jpg"]
    none = lazarus("classify", "--ckpt", checkpoint, "--data", folder / "broken.jpg", "--out", out)
    assert none.code == 2
    assert "broken.jpg' can be used: " in none.err
    assert rows(out)[0]["reason"] in none.out


def test_every_engine_classifies_alike(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    tables = []
    for engine in ("torch", "openvino"):
        out = tmp_path / f"{engine}.csv"
        words = ["--ckpt", checkpoint, "--data", drawn / "rust", "--out", out]
        done = lazarus("classify", *words, "--engine", engine)
        assert done.code == 0, done.err
        tables.append(rows(out))
    for left, right in zip(*tables, strict=True):
        assert left["predicted"] == right["predicted"]
        assert float(left["probability"]) == pytest.approx(float(right["probability"]), abs=0.01)


def test_one_photo_is_a_batch_of_one(checkpoint: Path) -> None:
    from lazarus_pl.pipeline.classifier import Classifier

    assert Classifier(checkpoint, photos=1).batch_size == 1
    assert Classifier(checkpoint, options=EngineOptions(engine="torch"), photos=100).batch_size == 8
    assert Classifier(checkpoint, photos=1, views=ViewsSpec(2)).batch_size == 3


@pytest.mark.parametrize("verb", ["classify", "explain"])
def test_the_engine_gets_as_many_photos_as_it_takes_at_once(
    verb: str,
    checkpoint: Path,
    drawn: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With eight of 24 it would run on a third of the cores."""
    encode, given = TorchEngine.encode, []

    def noted(engine: TorchEngine, photos: np.ndarray) -> dict[str, np.ndarray]:
        given.append(len(photos))
        return encode(engine, photos)

    def wide(*args: object, **options: object) -> Engine:
        asked = EngineOptions(batch_size=24, engine="torch")
        engine = make_engine(args[0], asked, may_round=False)  # type: ignore[arg-type]
        assert isinstance(engine, TorchEngine)
        return engine

    monkeypatch.setattr(TorchEngine, "encode", noted)
    monkeypatch.setattr(classifier, "make_engine", wide)
    photos = len([*drawn.rglob("*.jpg")])
    done = lazarus(verb, "--ckpt", checkpoint, "--data", drawn, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert photos > 24
    # others chose the precision
    assert given[-2:] == [24, photos - 24]


def test_what_is_said_of_a_few_photos_is_printed(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    (tmp_path / "new").mkdir()
    paths = sorted(drawn.rglob("*.jpg"))[:6]
    for path in paths[:4]:
        shutil.copy(path, tmp_path / "new")
    (tmp_path / "new" / "broken.jpg").write_bytes(b"broken")
    words = ("--ckpt", checkpoint, "--data", tmp_path / "new", "--out", tmp_path / "p.csv")
    said = lazarus("classify", *words).out
    for row in rows(tmp_path / "p.csv"):
        line = next(each for each in said.splitlines() if each.startswith(f"{row['file']}: "))
        assert (row["reason"] or row["answer"]) in line
        if row["predicted"] and row["answer"] != "not a known leaf":
            assert f"{row['predicted']}, probability {float(row['probability']):.3f}" in line
    for path in paths[4:]:
        shutil.copy(path, tmp_path / "new")
    assert paths[0].name not in lazarus("classify", *words).out


def test_what_is_said_of_one_photo() -> None:
    names, probability = ["healthy", "rust"], np.array([0.25, 0.75], np.float32)
    item = Prediction("a.jpg", "", probability)
    likeliest = "rust, probability 0.750"
    assert said_of(item, names) == f"a.jpg: {likeliest}"
    for verdict, said in (
        (Verdict((1,), 0.5), likeliest),
        (Verdict((1, 0), 0.5), f"unsure (most likely {likeliest})"),
        (Verdict((1,), 1.5), "not a known leaf"),
    ):
        assert said_of(replace(item, verdict=verdict), names) == f"a.jpg: {said}"
    assert said_of(Prediction("b.jpg", "", None, "is empty"), names) == "b.jpg: is empty"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--ckpt": "no.ckpt"}, "'no.ckpt' does not exist"),
        ({"--data": "nowhere"}, "'nowhere' does not exist"),
        ({"--out": "."}, "is a folder"),
        ({"--out": f"{__file__}/predictions.csv"}, "test_verbs.py' is a file, name another"),
        ({"--weights": "no.pth"}, "are no file"),
        ({"--device": "tpu7"}, "the device 'tpu7'"),
        ({"--tta": "-1"}, "--tta -1 is negative"),
        ({"--tta": "1", "--tta-policy": "heavy"}, "there is no policy 'heavy'"),
        ({"--tta": "1", "--tta-policy": "field"}, "at least one photo to take from"),
    ],
    ids=str,
)
def test_classify_mistakes(
    change: dict[str, str],
    said: str,
    checkpoint: Path,
    drawn: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"--ckpt": str(checkpoint), "--data": str(drawn), **change}
    done = lazarus("classify", *(word for pair in options.items() for word in pair))
    assert done.code == 2
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, LazarusError("the memory is full")])
def test_classify_keeps_what_it_has_when_it_ends_early(
    error: BaseException,
    checkpoint: Path,
    drawn: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged, calls = Classifier.judged, iter(range(99))

    def ends(self: Classifier, pixels: Any) -> Any:  # noqa: ANN401
        if next(calls) == 2:
            raise error
        return judged(self, pixels)

    monkeypatch.setattr(Classifier, "judged", ends)
    out, part = tmp_path / "out.csv", tmp_path / "out.partial.csv"
    out.write_text("file,predicted,probability,of,an,earlier,call\n")
    words = ("--data", drawn, "--out", out, "--batch_size", 8, "--engine", "torch")
    done = lazarus("classify", "--ckpt", checkpoint, *words)
    assert done.code != 0
    assert f"16 of 45 photos stand in '{part}'" in done.out
    assert len(rows(part)) == 16
    assert "earlier" in out.read_text()
    part.unlink()
    # fails at once
    calls = iter([2])
    assert lazarus("classify", "--ckpt", checkpoint, *words).code != 0
    assert not part.exists()


@pytest.mark.parametrize("victim", ["photo", "table", "checkpoint", "part"])
def test_classify_writes_over_nothing_but_predictions(
    victim: str, checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    shutil.copytree(drawn, tmp_path / "photos")
    photo = min((tmp_path / "photos").rglob("*.jpg"))
    table, mine = tmp_path / "photos.csv", tmp_path / "mine.ckpt"
    table.write_text(f"path,label\n{photo},healthy\n")
    shutil.copy(checkpoint, mine)
    part = tmp_path / "own.partial.csv"
    part.write_text("path,label\n")
    hit = {"photo": photo, "table": table, "checkpoint": mine, "part": part}[victim]
    out = tmp_path / "own.csv" if victim == "part" else hit
    before = hit.read_bytes()
    done = lazarus("classify", "--ckpt", mine, "--data", table, "--out", out)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "holds something else than predictions" in done.err
    assert hit.read_bytes() == before
    for empty in ("", None):
        fine = tmp_path / "fine.csv"
        if empty is not None:
            fine.write_text(empty)
        assert lazarus("classify", "--ckpt", mine, "--data", table, "--out", fine).code == 0
    assert fine.read_text().startswith("file,predicted,probability,")


def test_classify_refuses_a_checkpoint_without_an_encoder(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    import torch

    content = torch.load(checkpoint, weights_only=True)
    content["lazarus"]["arguments"]["encoder"] = None
    torch.save(content, tmp_path / "x.ckpt")
    done = lazarus("classify", "--ckpt", tmp_path / "x.ckpt", "--data", drawn)
    assert done.code == 2
    assert "does not say which encoder" in done.err


def test_no_test_time_views_is_the_plain_photo_and_views_are_averaged(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    from lazarus_pl.pipeline.classifier import Classifier
    from lazarus_pl.views.views_spec import ViewsSpec

    folder = drawn / "rust"
    outs = [tmp_path / name for name in ("plain.csv", "none.csv", "two.csv", "again.csv")]
    for out, options in zip(
        outs, [[], ["--tta", 0], ["--tta", 2], ["--tta=2", "--tta-policy=light"]], strict=True
    ):
        done = lazarus("classify", "--ckpt", checkpoint, "--data", folder, "--out", out, *options)
        assert done.code == 0, done.err
        # how many, how many are answered, and why so few; no photo by itself, there are 15
        assert len(done.out.splitlines()) == 3
    plain, none, two, again = (out.read_bytes() for out in outs)
    assert plain == none != two == again
    classifier = Classifier(checkpoint, options=EngineOptions(engine="torch"), views=ViewsSpec(2))
    path = sorted(folder.rglob("*.jpg"))[5]
    looks = classifier.look(path.read_bytes())
    assert looks.shape == (3, 64, 64, 3)
    assert (looks[0] == classifier.read(path.read_bytes())).all()
    expected = classifier.probabilities(looks).mean(axis=0)
    row = next(r for r in rows(outs[2]) if r["file"] == path.name)
    for name, value in zip(classifier.class_names, expected, strict=True):
        assert float(row[name]) == pytest.approx(float(value), abs=1e-3)


def test_unreadable_photos_stand_with_their_reason_beside_test_time_views(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    folder = fine_and_broken(drawn, tmp_path)
    out = tmp_path / "p.csv"
    words = ("--data", folder, "--out", out, "--tta", 3)
    assert lazarus("classify", "--ckpt", checkpoint, *words).code == 0
    table = {row["file"]: row for row in rows(out)}
    assert table["fine.jpg"]["predicted"]
    assert table["broken.jpg"]["reason"]
    assert not table["broken.jpg"]["predicted"]


def test_classify_refuses_other_weights(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    import timm
    import torch

    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), tmp_path / "w.pth")
    words = ("--data", drawn, "--weights", tmp_path / "w.pth", "--out", tmp_path / "p.csv")
    done = lazarus("classify", "--ckpt", checkpoint, *words)
    assert done.code == 2
    assert "was trained on features of encoder digest" in done.err


@pytest.mark.parametrize(
    ("counts", "options", "said"),
    [
        ({}, [], "holds no photo"),
        ({"a": 9}, [], "only one class, 'a'"),
        ({"a": 9, "b": 2}, [], "class 'b' has 2 photo"),
        ({"a": 9, "b": 9}, ["--encoder.name=resnett18"], "did you mean"),
        ({"a": 9, "b": 9}, ["--encoder.layers=[grid8]"], "grid8"),
        ({"a": 9, "b": 9}, ["--split.strategy=leef"], "leef"),
        ({"a": 9, "b": 9}, ["--precision=8"], "precision"),
        ({"a": 9, "b": 9}, ["--device=tpu7"], "the device 'tpu7'"),
        ({"a": 9, "b": 9}, ["--views.count=-1"], "views.count -1"),
        ({"a": 9, "b": 9}, ["--views.count=x"], "views.count"),
        ({"a": 9, "b": 9}, ["--views.count=1", "--views.policy=heavy"], "no policy 'heavy'"),
    ],
    ids=str,
)
def test_extract_mistakes(
    counts: dict[str, int], options: list[str], said: str, tmp_path: Path, lazarus: Lazarus
) -> None:
    (tmp_path / "photos").mkdir()
    for label, count in counts.items():
        (tmp_path / "photos" / label).mkdir()
        for number in range(count):
            save_noise(tmp_path / "photos" / label / f"IMG_{number:04d}.png")
    words = ("--data", tmp_path / "photos", "--out", tmp_path / "cache", *options)
    done = lazarus("extract", *words)
    assert done.code == 2, done.out
    assert said in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("*.npz"))


def test_extract_again_with_another_encoder_is_refused(
    drawn: Path, cache: Path, lazarus: Lazarus
) -> None:
    words = ("--data", drawn, "--out", cache, "--encoder.image_size", 96)
    done = lazarus("extract", *words)
    assert done.code == 2
    assert "was made by encoder 'tf_efficientnet_lite0' at 64 px" in done.err


def test_extract_a_second_time_is_quick(drawn: Path, cache: Path, lazarus: Lazarus) -> None:
    started = time.perf_counter()
    done = lazarus("extract", "--data", drawn, "--out", cache, "--encoder.image_size", 64)
    assert done.code == 0
    assert "0 extracted now" in done.out
    assert time.perf_counter() - started < 2


@pytest.mark.slow
def test_demo_does_it_all_and_repeats_nothing(
    tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "demo"
    # two heads, each for an epoch, on two small photos of each leaf
    heads = {
        name: str(shipped_config(f"heads/{name}.yaml").resolve()) for name in ("linear", "mlp")
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"configs": heads}))
    short = partial(
        RunSettings,
        grid=GridOptions(tmp_path / "grid.yaml", {"trainer.max_epochs": 1}),
        encoder=EncoderSpec(image_size=64),
    )
    monkeypatch.setattr(demo, "RunSettings", short)
    few = partial(ProceduralLeaves, photos_per_leaf=(2, 2), size=64)
    monkeypatch.setattr(demo, "ProceduralLeaves", few)
    # heads are always trained, and there is no time for fine-tuning
    words = ("demo", "--out", out, "--leaves", 0.1, "--time", "1s")
    done = lazarus(*words)
    assert done.code == 0, done.err
    assert "| 1    |" in done.out
    assert "What to type next" in done.out
    # its model diagnoses no real leaf
    assert "--data YOUR_PHOTOS" not in done.out
    assert "finetune" in done.out
    for name in ("leaves.png", "run/grid/leaderboard.csv", "run/best.ckpt", "predictions.csv"):
        assert (out / name).exists(), name
    assert (out / "run" / "report.html").exists()
    assert len(rows(out / "predictions.csv")) == 21
    times = {path: path.stat().st_mtime_ns for path in (out / "run").rglob("*.ckpt")}
    again = lazarus(*words)
    assert again.code == 0
    assert "nothing has changed" in again.out
    assert {path: path.stat().st_mtime_ns for path in (out / "run").rglob("*.ckpt")} == times


def test_demo_whose_chain_fails_ends_with_what_the_chain_said(
    tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(settings: RunSettings) -> int:
        print("failed: grid; the same command tries again")
        return 1

    monkeypatch.setattr(demo, "run_chain", fails)
    few = partial(ProceduralLeaves, photos_per_leaf=(1, 1), size=32)
    monkeypatch.setattr(demo, "ProceduralLeaves", few)
    done = lazarus("demo", "--out", tmp_path / "demo", "--leaves", 0.1)
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[-1] == "failed: grid; the same command tries again"
    assert not (tmp_path / "demo" / "unseen").exists()


def test_demo_makes_the_views_of_lazarus_run() -> None:
    views = yaml.safe_load(shipped_config("run.yaml").read_text(encoding="utf-8"))["views"]
    assert ViewsSpec(**views) == demo._VIEWS


def test_a_checkpoint_with_a_wrong_byte_classifies_nothing(
    checkpoint: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    content = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content[largest.header_offset + largest.file_size // 2] ^= 1
    (tmp_path / "damaged.ckpt").write_bytes(content)
    words = ("--ckpt", tmp_path / "damaged.ckpt", "--data", drawn, "--out", tmp_path / "p.csv")
    done = lazarus("classify", *words)
    assert done.code == 2
    assert "damaged.ckpt' cannot be read (a checksum is wrong)" in done.err
    assert not (tmp_path / "p.csv").exists()
