from __future__ import annotations

import csv
import errno
import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.explain import explanation_writer
from lazarus_pl.explain.attribution import integrated_gradients
from lazarus_pl.explain.deletion import deletion_insertion
from lazarus_pl.explain.explain_photos import explain_photos
from lazarus_pl.explain.localisation_score import laid_over, localisation_score
from lazarus_pl.explain.picture import _colours, _words, as_png, overlay, photo_and_map, picture
from lazarus_pl.heads.head import Head
from lazarus_pl.heads.patch_head import PatchHead
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.tasks.confusion_figure import confusion_figure
from lazarus_pl.tasks.evidence_figure import evidence_figure
from tests.conftest import Lazarus

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def checkpoints(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from lazarus_pl.cli import main

    found = {}
    for room, name in (("patches", "patches"), ("heads", "attention"), ("heads", "mlp")):
        folder = tmp_path_factory.mktemp(name)
        words = ["fit", "-c", ROOT / "configs" / room / f"{name}.yaml"]
        words += [f"--data.init_args.cache={cache}", "--trainer.max_epochs=2"]
        words += ["--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder}"]
        assert main([str(word) for word in words]) == 0
        found[name] = next(folder.rglob("best.ckpt"))
    return found


@pytest.mark.parametrize("name", ["patches", "attention", "mlp"])
def test_every_head_gives_what_it_can(
    name: str, checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    folder = drawn / "rust"
    done = lazarus("explain", "--ckpt", checkpoints[name], "--data", folder, "--out", tmp_path)
    assert done.code == 0, done.err
    with (tmp_path / "explanations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(folder.iterdir()))
    assert (tmp_path / "index.html").read_text().count("<figure>") == len(rows)
    assert list((tmp_path / "sheets").glob("*.jpg"))
    classifier = Classifier(checkpoints[name], options=EngineOptions(engine="torch"))
    for row in rows:
        stem = Path(row["file"]).stem
        assert (tmp_path / "pictures" / f"{stem}.png").exists()
        maps = np.load(tmp_path / "maps" / f"{stem}.npz")
        probability = classifier.probabilities(
            classifier.read((folder / row["file"]).read_bytes())[None]
        )[0]
        assert str(maps["predicted"]) == classifier.class_names[int(probability.argmax())]
        assert maps["probability"] == pytest.approx(probability.max(), abs=1e-3)
        assert all(maps[kind].dtype == np.float32 for kind in ("attention", "evidence"))
        if name == "mlp":
            assert np.isfinite(maps["grad_cam"]).all()
            assert np.isnan(maps["evidence"]).all()
            continue
        assert maps["attention"].sum() == pytest.approx(1, abs=1e-4)
        assert maps["evidence"].shape == maps["attribution"].shape == (4, 4)
        assert float(row["completeness_error"]) < 0.05


def test_mistakes_are_one_sentence(
    checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    words = ("explain", "--data", drawn, "--out", tmp_path / "out", "--ckpt")
    done = lazarus(*words, checkpoints["patches"], "--target", "late_bligt")
    assert done.code == 2
    assert "knows no class 'late_bligt', did you mean 'late_blight'" in done.err
    done = lazarus(*words, checkpoints["mlp"], "--methods", "[evidence]")
    assert done.code == 2
    assert "has no patches, so no evidence" in done.err


def test_a_photo_smaller_than_a_patch_has_a_reason(
    checkpoints: dict[str, Path], tmp_path: Path, lazarus: Lazarus
) -> None:
    Image.new("RGB", (12, 40), "green").save(tmp_path / "tiny.png")
    words = ("--data", tmp_path / "tiny.png", "--out", tmp_path / "out")
    done = lazarus("explain", "--ckpt", checkpoints["patches"], *words)
    assert done.code == 2
    assert "tiny.png' can be used: " in done.err
    assert "less than one patch" in (tmp_path / "out" / "explanations.csv").read_text()


def test_a_drawn_square_is_found_where_it_was_drawn(checkpoints: dict[str, Path]) -> None:
    """Geometry alone: which patches change when a square is drawn into a wide photo."""
    classifier = Classifier(checkpoints["patches"], options=EngineOptions(engine="torch"))
    plain = np.full((120, 240, 3), (70, 130, 60), dtype=np.uint8)
    marked = plain.copy()
    marked[75:105, 180:240] = (90, 50, 20)
    grids = []
    for pixels in (plain, marked):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        read = classifier.read(buffer.getvalue())[None]
        grids.append(classifier.features(read)["grid16"][0].float())
    change = (grids[1] - grids[0]).norm(dim=-1).numpy()
    row, column = np.unravel_index(laid_over(change, (120, 240)).argmax(), (120, 240))
    assert 75 <= row < 105
    assert 180 <= column < 240


def test_where_nothing_is_marked_there_is_no_scale() -> None:
    photo = np.full((256, 256, 3), 90, dtype=np.uint8)
    words = ("healthy", "next rust")
    with_scale = picture(photo, photo, words, 1.0, "meaning")
    without = picture(photo, photo, words, 0.0, "meaning")
    below = slice(58 + 256, None)
    assert (without[below] == 255).all()
    assert (with_scale[below] != 255).any()


@pytest.mark.parametrize(("height", "width"), [(180, 360), (360, 180)])
def test_a_sheet_gives_its_two_pictures_back_without_words(height: int, width: int) -> None:
    pixels = np.full((height, width, 3), 100, dtype=np.uint8)
    marked = overlay(pixels, np.ones((4, 4), dtype=np.float32))
    sheet = picture(pixels, marked, ("rust", "next"), 1.0, "meaning")
    both = np.asarray(photo_and_map(Image.fromarray(sheet)))
    assert both.shape[0] == height
    assert (both[:, :width] == 100).all()
    beside = both.shape[1] - max(width, 240)
    assert (both[:, beside : beside + width] != 100).any(axis=-1).all()
    assert both.shape[1] == 2 * max(width, 240) + 12


def test_an_overlay_colours_only_where_the_map_speaks() -> None:
    pixels = np.full((64, 128, 3), 100, dtype=np.uint8)
    values = np.zeros((4, 8), dtype=np.float32)
    values[1, 6] = 3
    changed = (overlay(pixels, values) != pixels).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert rows.mean() == pytest.approx(1.5 * 16 - 0.5)
    assert columns.mean() == pytest.approx(6.5 * 16 - 0.5)
    assert not changed[:, :80].any()


def test_a_picture_is_the_same_in_fewer_milliseconds() -> None:
    """Every pixel as the map mixed over the whole photo, and as the file holds it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    values = rng.normal(size=(4, 6)).astype(np.float32)
    strength = np.clip(laid_over(values, (64, 96)) / values.max(), 0, 1)
    alpha = (0.8 * np.sqrt(strength) * (strength > 0.15))[..., None]
    mixed = (pixels * (1 - alpha) + _colours(strength) * alpha).astype(np.uint8)
    shown = overlay(pixels, values)
    np.testing.assert_array_equal(shown, mixed)
    with Image.open(io.BytesIO(as_png(shown))) as image:
        np.testing.assert_array_equal(np.asarray(image), shown)


def test_a_full_disk_is_a_sentence_although_other_threads_write(
    checkpoints: dict[str, Path],
    drawn: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Image.Image) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(explanation_writer, "as_png", fail)
    words = ("--data", drawn / "rust", "--out", tmp_path / "out", "--methods", "[evidence]")
    done = lazarus("explain", "--ckpt", checkpoints["patches"], *words)
    assert done.code == 2
    assert "cannot be written (No space left on device)" in done.err


def test_integrated_gradients_add_up() -> None:
    torch.manual_seed(0)
    head = PatchHead({"grid16": (4, 4, 6), "grid32": (2, 2, 10)}, 3, hidden=8).eval()
    features = {"grid16": torch.randn(2, 4, 4, 6), "grid32": torch.randn(2, 2, 2, 10)}
    target = torch.tensor([0, 2])
    maps, missed = integrated_gradients(head, features, target)
    nothing = {name: torch.zeros_like(values) for name, values in features.items()}
    rise = (head(features) - head(nothing)).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(maps.sum(dim=(1, 2)), rise.detach(), atol=1e-2, rtol=1e-2)
    assert missed.max() < 0.05


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_the_areas_are_those_of_every_step_by_itself(temperature: float) -> None:
    """As the method defines them: what is read once for both curves changes no figure."""
    torch.manual_seed(0)
    head = PatchHead({"grid16": (4, 4, 6), "grid32": (2, 2, 10)}, 3, hidden=8).eval()
    features = {"grid16": torch.randn(2, 4, 4, 6), "grid32": torch.randn(2, 2, 2, 10)}
    maps, target = torch.randn(2, 4, 4), torch.tensor([0, 2])
    share = maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).view_as(maps) / 16
    areas = deletion_insertion(head, features, maps, target, temperature)
    for removed, area in zip((True, False), areas, strict=True):
        curve = []
        for step in range(13):
            gone = (share < step / 12).float()
            logits = Head.fade(head, features)(1 - gone if removed else gone)
            said = (logits / temperature).softmax(dim=-1)
            curve.append(said.gather(1, target[:, None])[:, 0])
        expected = torch.trapezoid(torch.stack(curve), dx=1 / 12, dim=0)
        torch.testing.assert_close(area, expected.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("at_least", [100, 512])
def test_a_photo_decoded_once_is_read_as_it_is_alone(
    at_least: int, checkpoints: dict[str, Path]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 1200, 3), dtype=np.uint8)
    photo = _jpeg(pixels)
    classifier = Classifier(checkpoints["patches"], options=EngineOptions(engine="torch"))
    read, shown = classifier.read_and_open(photo, at_least)
    np.testing.assert_array_equal(read, classifier.read(photo))
    assert at_least <= min(shown.size) <= 600


def test_the_areas_are_of_the_calibrated_probability(checkpoints: dict[str, Path]) -> None:
    """The row of a photo has both."""
    classifier = Classifier(checkpoints["patches"], options=EngineOptions(engine="torch"))
    size = classifier.read(_jpeg(np.zeros((64, 64, 3), np.uint8))).shape
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size), dtype=np.uint8)
    features = classifier.features(pixels)
    plain, sure = (
        explain_photos(classifier.task, features, None, (), temperature=temperature)
        for temperature in (1.0, 0.1)
    )
    for one, other in zip(plain, sure, strict=True):
        assert abs(other.insertion - one.insertion) > 1e-3


def test_what_is_too_long_for_a_row_is_told_in_another() -> None:
    photo = np.full((256, 256, 3), 100, dtype=np.uint8)
    long = ("next " + "early blight " * 4 + "12%", "map of " + "late blight " * 4, "weak map")
    one, two = (
        picture(photo, photo, ("rust", ", ".join(parts)), 1.0, "meaning")
        for parts in (long[2:], long)
    )
    lowest = [np.flatnonzero((sheet[:58] < 200).any(axis=(1, 2))).max() for sheet in (one, two)]
    assert lowest[0] < 50 < lowest[1]
    assert (two[:58, -12:] == 255).all()


def test_a_perfect_map_scores_one() -> None:
    lesions = np.zeros((64, 64), dtype=bool)
    lesions[16:32, 16:32] = True
    score = localisation_score(
        lesions.astype(np.float32), lesions, np.ones_like(lesions, dtype=bool)
    )
    assert score == pytest.approx((1, 1, 1, 1))


def test_a_large_photo_is_read_in_windows(
    checkpoints: dict[str, Path], tmp_path: Path, lazarus: Lazarus
) -> None:
    pixels = np.full((200, 400, 3), (70, 130, 60), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    words = ("--data", tmp_path / "wide.png", "--out", tmp_path / "out", "--windows")
    done = lazarus("explain", "--ckpt", checkpoints["patches"], *words, 3)
    assert done.code == 0, done.err
    maps = np.load(tmp_path / "out" / "maps" / "wide.npz")
    assert maps["evidence"].shape == maps["attention"].shape == (12, 24)
    assert maps["lesions"].shape == (128, 128)
    assert maps["attention"].sum() == pytest.approx(1, abs=1e-3)
    done = lazarus("explain", "--ckpt", checkpoints["mlp"], *words, 2)
    assert done.code == 2
    assert "has no patches, so no maps of photos in windows" in done.err
    assert "cannot be" in lazarus("explain", "--ckpt", checkpoints["patches"], *words, 0).err


def test_windows_see_what_the_whole_photo_shows_at_their_size(checkpoints: dict[str, Path]) -> None:
    """A photo of exactly one window is the photo itself."""
    classifier = Classifier(checkpoints["patches"], options=EngineOptions(engine="torch"))
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    whole = classifier.features(photo)
    tiled = classifier.features(np.concatenate([photo, photo], axis=2))
    grid, twice = whole["grid16"][0], tiled["grid16"][0]
    assert twice.shape[:2] == (4, 8)
    np.testing.assert_allclose(twice[:, :2], grid[:, :2], atol=5e-3)
    np.testing.assert_allclose(twice[:, -2:], grid[:, -2:], atol=5e-3)


def test_long_names_have_room(
    checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    source = next((drawn / "rust").iterdir())
    (tmp_path / "new").mkdir()
    names = [
        f"{letter * repeats}{end}.jpg"
        for letter, repeats in (("x", 240), ("ü", 120))
        for end in "12"
    ]
    for name in names:
        shutil.copy(source, tmp_path / "new" / name)
    out = tmp_path / "out"
    done = lazarus(
        "explain", "--ckpt", checkpoints["mlp"], "--data", tmp_path / "new", "--out", out
    )
    assert done.code == 0, done.err
    assert len(list((out / "pictures").iterdir())) == len(names)
    with (out / "explanations.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["file"] for row in rows) == sorted(names)
    assert all((out / row["map"]).is_file() for row in rows)


def test_stems_that_differ_in_capitals_alone_are_files_of_their_own(
    checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    source = next((drawn / "rust").iterdir())
    for folder, name in (("x", "leaf.jpg"), ("y", "LEAF.jpg")):
        (tmp_path / "new" / folder).mkdir(parents=True)
        shutil.copy(source, tmp_path / "new" / folder / name)
    out = tmp_path / "out"
    words = ("--ckpt", checkpoints["mlp"], "--data", tmp_path / "new", "--out", out)
    assert lazarus("explain", *words).code == 0
    with (out / "explanations.csv").open(encoding="utf-8") as file:
        maps = [row["map"].casefold() for row in csv.DictReader(file)]
    assert len(set(maps)) == len(maps) == 2


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "explanations.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_stems_never_meet(
    checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    source = next((drawn / "rust").iterdir())
    names = ["0/x_2.png", "x.png", "x.tif", "x.jpg", "x_3.png", "a?b.jpg", "a:b.jpg"]
    for name in names:
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "new" / name)
    out = tmp_path / "out"
    words = ("--ckpt", checkpoints["mlp"], "--data", tmp_path / "new", "--out", out)
    assert lazarus("explain", *words).code == 0
    maps = [row["map"] for row in rows_of(out)]
    assert len(set(maps)) == len(maps) == len(names)
    assert not set("".join(maps)) & set('<>:"|?*')
    assert all((out / each).is_file() for each in maps)


def test_a_file_that_cannot_be_written_costs_no_other(
    checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    (tmp_path / "new").mkdir()
    source = next((drawn / "rust").iterdir())
    for number in range(40):
        shutil.copy(source, tmp_path / "new" / f"{number:02d}.jpg")
    out = tmp_path / "out"
    (out / "pictures" / "01.png").mkdir(parents=True)
    words = ("--ckpt", checkpoints["mlp"], "--data", tmp_path / "new", "--out", out)
    done = lazarus("explain", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "cannot be written" in done.err
    rows = rows_of(out)
    assert len(rows) == 40
    assert [row["file"] for row in rows if row["reason"]] == ["01.jpg"]
    assert rows[1]["reason"].startswith("cannot be written: ")
    assert rows[1]["map"] == ""
    assert len(list((out / "sheets").iterdir())) >= 1
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "pictures/00.png" in page
    assert "pictures/39.png" in page
    assert "pictures/01.png" not in page


def test_rows_are_in_the_order_of_the_files_and_sheets_those_of_this_call(
    checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    (tmp_path / "new").mkdir()
    for number, folder in enumerate(("rust", "healthy", "late_blight")):
        shutil.copy(next((drawn / folder).iterdir()), tmp_path / "new" / f"{number}.jpg")
    (tmp_path / "new" / "1a.jpg").write_bytes(b"no photo")
    out = tmp_path / "out"
    words = ("--ckpt", checkpoints["patches"], "--data", tmp_path / "new", "--out", out)
    assert lazarus("explain", *words, "--methods", "[evidence]").code == 0
    rows = rows_of(out)
    assert [row["file"] for row in rows] == ["0.jpg", "1.jpg", "1a.jpg", "2.jpg"]
    assert [bool(row["reason"]) for row in rows] == [False, False, True, False]
    assert lazarus("explain", *words, "--methods", "[evidence]", "--target", "rust").code == 0
    assert [path.name for path in (out / "sheets").iterdir()] == ["rust.jpg"]
    for row in rows_of(out):
        if row["map"]:
            arrays = np.load(out / row["map"])
            assert str(arrays["target"]) == row["target"] == "rust"
            assert str(arrays["predicted"]) == row["predicted"]


def test_letters_of_many_languages_are_drawn() -> None:
    drawn_as = {letter: _words(letter, 15, 0).tobytes() for letter in "éüßøŁαЖ\uffff"}
    assert len(set(drawn_as.values())) == len(drawn_as)


def test_a_dollar_in_a_class_name_begins_no_formula() -> None:
    names = ["rust $_$", "$\\frac$"]
    for figure in (
        confusion_figure(np.eye(2, dtype=np.int64), names),
        evidence_figure(np.ones((2, 4, 4), np.float32), names),
    ):
        FigureCanvasAgg(figure).draw()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_a_name_that_is_no_text_does_not_lose_the_page(
    checkpoints: dict[str, Path], drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    (tmp_path / "new").mkdir()
    name = os.fsdecode(b"latin\xe9 #1.jpg")
    shutil.copy(next((drawn / "rust").iterdir()), tmp_path / "new" / name)
    out = tmp_path / "out"
    words = ("--ckpt", checkpoints["mlp"], "--data", tmp_path / "new", "--out", out)
    done = lazarus("explain", *words)
    assert done.code == 0, done.err
    assert 'src="pictures/latin%E9%20%231.png"' in (out / "index.html").read_text("utf-8")
    assert (out / "pictures" / os.fsdecode(b"latin\xe9 #1.png")).is_file()


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()
