"""What the audit leaves for the extraction."""

from __future__ import annotations

from pathlib import Path

import pytest

from lazarus_pl.audit import survey
from lazarus_pl.data import scan
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.data.scan import Inspected
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.openvino_graph import OpenVinoGraph
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stages.audit_stage import AuditStage
from lazarus_pl.pipeline.run.stages.extract_stage import ExtractStage


def test_nothing_is_opened_or_converted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = ProceduralLeaves({"healthy": 13, "rust": 13}, photos_per_leaf=(2, 2), size=64)
    photos = leaves.write(tmp_path / "leaves")
    settings = RunSettings(
        data=photos,
        out=tmp_path / "run",
        encoder=EncoderSpec("test_resnet", "random", 64),
        engine="openvino",
    )
    AuditStage(settings).run({}, None, Schedule())
    # what changes meanwhile is opened all the same
    changed, *others = sorted((photos / "rust").iterdir())
    changed.write_bytes(others[0].read_bytes() + b"\0")
    opened: list[Path] = []
    inspect = survey.inspect_photo

    def noted(path: Path, *item: object) -> Inspected:
        opened.append(path)
        return inspect(path, *item)  # type: ignore[arg-type]

    def convert(graph: OpenVinoGraph) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(scan, "inspect_photo", noted)
    monkeypatch.setattr(OpenVinoGraph, "_converted", convert)
    ExtractStage(settings).run({}, None, Schedule())
    assert opened == [changed]
    assert len(Manifest.read(settings.cache).photos) == 52
