"""The verb, on drawn leaves, on broken data, and on real photos."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lazarus_pl.audit.load_audit_data import load_audit_data
from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.errors import LazarusError
from tests.conftest import Lazarus, save_noise

SCHEMA = json.loads((files("lazarus_pl.audit.report") / "audit.schema.json").read_text())


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    Draft202012Validator(SCHEMA).validate(report)
    page = (folder / "audit.html").read_text(encoding="utf-8")
    for finding in report["findings"]:
        words = finding["text"].split("'")[0]
        assert words in (folder / "audit.md").read_text(encoding="utf-8")
        assert words.split("&")[0] in page
        mark = {"warning": "note"}.get(finding["severity"], finding["severity"])
        assert f"- **{mark}**: {words}" in (folder / "audit.md").read_text(encoding="utf-8")
        assert f"<b>{mark}</b>" in page
    names = ("http://www.w3.org", "http://purl.org", "http://creativecommons.org")
    assert "http://" not in functools.reduce(lambda text, name: text.replace(name, ""), names, page)
    assert "https://" not in page.replace("https://matplotlib.org", "")
    return report


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_photos_alone(drawn: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    done = lazarus("audit", "--data", drawn, "--out", tmp_path / "audit", "--costs", "false")
    assert done.code == 0, done.err
    assert "audit.html" in done.out
    report = _report(tmp_path / "audit")
    assert report["classes"]["total"] == 45
    assert report["leak"]["in_use"]["macro_f1"] is None
    assert report["label_doubts"] is None
    assert not (tmp_path / "audit" / "label_doubts.csv").exists()


def test_with_a_cache(drawn: Path, cache: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    out = tmp_path / "audit"
    done = lazarus(*("audit", "--data", drawn, "--out", out, "--cache", cache, "--costs", "false"))
    assert done.code == 0, done.err
    report = _report(out)
    assert report["leak"]["in_use"]["strategy"] == "leaf"
    assert 0 <= report["leak"]["in_use"]["macro_f1"] <= 1
    manifest = Manifest.read(cache)
    for side in ("train", "val", "test"):
        assert sum(row[side] for row in report["classes"]["by_class"].values()) == len(
            manifest.side(side)
        )
    with (out / "label_doubts.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(report["label_doubts"]["doubts"])
    with (out / "label_doubts.csv").open("a", encoding="utf-8") as file:
        file.write("healthy/0000.0.jpg,healthy,rust,1,0,relabel\n")
    again = lazarus(
        *("audit", "--data", drawn, "--out", out, "--cache", cache, "--costs", "false"),
        *("--split.strategy", "random"),
    )
    assert again.code == 0, again.err
    assert Corrections.read(out / "label_doubts.csv").labels == {"healthy/0000.0.jpg": "rust"}
    flattering = _report(out)
    assert flattering["leak"]["in_use"]["strategy"] == "random"
    assert flattering["leak"]["in_use"]["share_with_sibling"] > 0.5
    assert flattering["findings"][0]["severity"] == "fault"


def test_photos_in_one_folder_whose_classes_corrections_name(
    drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    flat, rows = tmp_path / "flat", ["path,action,suggested"]
    flat.mkdir()
    for number, photo in enumerate(sorted(drawn.rglob("*.jpg"))):
        name = f"{photo.parent.name}_{photo.name}"
        shutil.copy(photo, flat / name)
        rows.append(f"{name},{'exclude' if number == 0 else 'relabel'},{photo.parent.name}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows))
    words = ("audit", "--data", flat, "--out", tmp_path / "audit", "--costs", "false")
    assert lazarus(*words).code == 2
    extract = ("extract", "--data", flat, "--out", tmp_path / "cache", "--encoder.image_size", 64)
    assert lazarus(*extract, "--corrections", table).code == 0
    for more in ((), ("--cache", tmp_path / "cache")):
        done = lazarus(*words, "--corrections", table, *more)
        assert done.code == 0, done.err
        report = _report(tmp_path / "audit")
        assert report["classes"]["total"] == 44
        assert set(report["classes"]["by_class"]) == {"healthy", "late_blight", "rust"}
        assert report["quarantine"]["total"] == 1


def test_corrections_go_before_the_labels_of_a_cache(
    drawn: Path, cache: Path, tmp_path: Path
) -> None:
    first = Manifest.read(cache).photos[0]
    decided = Corrections({first.path: "rust"})
    for split in (None, SplitSpec()):
        found = load_audit_data(drawn, tmp_path / "audit", cache, split, corrections=decided)
        assert {p.label for p in found.photos if p.path == first.path} == {"rust"} != {first.label}


def test_a_cache_that_is_being_divided_is_a_sentence(
    drawn: Path, cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    replace(CacheHeader.read(cache), split={}).write(tmp_path / "cache")
    with pytest.raises(LazarusError, match="run lazarus extract again"):
        load_audit_data(drawn, tmp_path / "audit", tmp_path / "cache")


def test_unseen_sessions_are_told_class_by_class(tmp_path: Path, lazarus: Lazarus) -> None:
    photos = tmp_path / "photos"
    for label in ("blight & rot", "sound"):
        (photos / label).mkdir(parents=True)
        for first in (0, 1000):
            for number in range(first, first + 32):
                save_noise(photos / label / f"IMG_{number:04d}.png")
    cache, out = tmp_path / "cache", tmp_path / "audit"
    encoder = ("--encoder.image_size", 32, "--encoder.layers", "[pooled]")
    assert lazarus("extract", "--data", photos, "--out", cache, *encoder).code == 0
    words = ("--data", photos, "--out", out, "--cache", cache, "--costs", "false")
    assert lazarus("audit", *words).code == 0
    sessions = _report(out)["sessions"]
    assert (sessions["classes"], sessions["left_out"]) == (2, 4)
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert '<h2 id="sessions">' in page
    assert "<tr><td>blight &amp; rot</td>" in page
    table = (out / "audit.md").read_text(encoding="utf-8").split("## Unseen sessions")[1]
    assert [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| ")][2:5] == [
        "| blight & rot",
        "| sound",
        "| mean",
    ]


def test_a_bar_in_a_class_name_is_no_column(
    noise: Callable[..., Path], tmp_path: Path, lazarus: Lazarus
) -> None:
    photos = noise({"a": 4, "b": 4})
    labels = {"a": "blight | early", "b": "sound"}
    rows = [
        f"{p.relative_to(photos)},{labels[p.parent.name]}" for p in sorted(photos.rglob("*.png"))
    ]
    (photos / "photos.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    words = ("--data", photos / "photos.csv", "--out", tmp_path / "audit", "--costs", "false")
    assert lazarus("audit", *words).code == 0
    table = (tmp_path / "audit" / "audit.md").read_text(encoding="utf-8").split("## Classes")[1]
    row = next(line for line in table.splitlines() if "blight" in line)
    assert row.startswith(r"| blight \| early | 4 |")


def test_photos_that_the_cache_lacks_are_told(
    drawn: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(drawn, photos)
    extra = next(photos.rglob("*.jpg"))
    shutil.copy(extra, extra.with_name("IMG_9999.jpg"))
    done = lazarus(
        *("audit", "--data", photos, "--out", tmp_path / "a", "--cache", cache, "--costs", "false")
    )
    assert done.code == 0, done.err
    report = _report(tmp_path / "a")
    assert report["classes"]["total"] == 45
    assert "extract again" in report["quarantine"]["files"][0]["reason"]


@pytest.mark.slow
def test_costs_of_every_stage(drawn: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    done = lazarus(
        *("audit", "--data", drawn, "--out", tmp_path / "audit"),
        *("--encoder.image_size", 64, "--device", "cpu"),
    )
    assert done.code == 0, done.err
    report = _report(tmp_path / "audit")
    stages = {cost["stage"]: cost for cost in report["costs"]}
    assert list(stages)[:3] == ["extraction", "nine heads", "patch attention"]
    frozen, partly, whole = list(stages.values())[3:]
    assert frozen["gpu_mb"] < partly["gpu_mb"] < whole["gpu_mb"] < 2000
    assert frozen["seconds"] < whole["seconds"]
    assert stages["nine heads"]["seconds"] > stages["patch attention"]["seconds"]
    assert len(report["costs_4gb"]) == len(stages)
    assert all(row["fits"] for row in report["costs_4gb"])
    assert set(report["rates"]) == {"decode", "encoder", "disk"}
    assert not list(tmp_path.glob("**/lightning_logs"))


def test_where_everything_is_broken_there_is_still_a_report(
    tmp_path: Path, lazarus: Lazarus
) -> None:
    photos = tmp_path / "photos"
    for name in ("a/1.jpg", "a/2.png", "b/3.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"broken" if "2" not in name else b"")
    done = lazarus("audit", "--data", photos, "--out", tmp_path / "audit")
    assert done.code == 0, done.err
    report = _report(tmp_path / "audit")
    assert report["classes"]["total"] == 0
    assert report["quarantine"]["total"] == 3
    assert report["findings"][0]["severity"] == "fault"


def test_one_class_is_told_and_does_not_stop_the_rest(
    noise: Callable[..., Path], tmp_path: Path, lazarus: Lazarus
) -> None:
    done = lazarus("audit", "--data", noise({"only": 5}), "--out", tmp_path / "audit")
    assert done.code == 0, done.err
    report = _report(tmp_path / "audit")
    assert "only one class" in report["about"]["split_problem"]
    assert report["classes"]["total"] == 5
    assert report["shortcuts"] == report["costs"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "nowhere"), "'nowhere' does not exist"),
        (("--cache", "nowhere"), "is no feature cache"),
        (("--encoder.name", "no_such_net"), "no_such_net"),
    ],
)
def test_mistakes_are_one_sentence(
    words: tuple[str, str], said: str, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    options = {"--data": str(drawn), "--out": str(tmp_path / "audit"), words[0]: words[1]}
    done = lazarus("audit", *(word for pair in options.items() for word in pair))
    assert said in done.err
    assert "Traceback" not in done.err
    # a wrong encoder costs the estimate alone, not the audit
    assert done.code == (0 if words[0] == "--encoder.name" else 2)
    assert (tmp_path / "audit").exists() == (done.code == 0)


def test_the_cache_of_other_photos(
    noise: Callable[..., Path], cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    photos = noise({"a": 5, "b": 5})
    done = lazarus("audit", "--data", photos, "--out", tmp_path / "audit", "--cache", cache)
    assert done.code == 2
    assert "holds no photo of" in done.err


@pytest.mark.real_data
@pytest.mark.slow
def test_real_photos_show_their_leak_and_their_black_borders(
    real_data: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "audit"
    words = ("audit", "--data", real_data / "plantvillage-mini", "--out", out, "--costs", "false")
    assert lazarus(*words, "--split.strategy", "random").code == 0
    flattering = _report(out)
    assert flattering["leak"]["in_use"]["share_with_sibling"] > 0.9
    assert flattering["duplicates"]["across_splits"]["number"] > 0
    assert lazarus(*words).code == 0
    honest = _report(out)
    assert honest["leak"]["in_use"]["share_with_sibling"] < 0.03
    border = next(row for row in honest["shortcuts"] if row["probe"] == "border")
    assert "Corn___Common_rust" in border["classes"]
    assert border["accuracy"] > 0.5
