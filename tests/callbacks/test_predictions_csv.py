from __future__ import annotations

import csv
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from callbacks import PredictionsCSV


class Model(LightningModule):
    def predict_step(
        self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        return {"index": batch, "probability": torch.eye(3)[batch % 3]}


def predict(folder: Path, names: list[str] | None, *lengths: int) -> list[list[str]]:
    model = Model()
    if names:
        model.class_names = names  # type: ignore[assignment]
    loaders = [DataLoader(torch.arange(n), batch_size=2) for n in lengths]
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        callbacks=[PredictionsCSV("out/p.csv")],
        enable_progress_bar=False,
    )
    trainer.predict(model, loaders)
    with (folder / "out" / "p.csv").open() as file:
        return list(csv.reader(file))


def test_one_row_a_sample(tmp_path: Path) -> None:
    header, *rows = predict(tmp_path, ["x", "y", "z"], 5)
    assert header == ["index", "predicted", "probability", "x", "y", "z"]
    assert [row[1] for row in rows] == ["x", "y", "z", "x", "y"]
    assert rows[4] == ["4", "y", "1.000000", "0.000000", "1.000000", "0.000000"]


def test_names_of_items_stand_first(tmp_path: Path) -> None:
    class Data(LightningDataModule):
        item_names = ("a.jpg", "b, c.jpg", "d.jpg")

        def predict_dataloader(self) -> DataLoader[Tensor]:
            return DataLoader(torch.tensor([2, 1]), batch_size=2)  # type: ignore[arg-type]

    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        callbacks=[PredictionsCSV("p.csv")],
        enable_progress_bar=False,
    )
    trainer.predict(Model(), datamodule=Data())
    with (tmp_path / "p.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["file", "index", "predicted"]
    assert [row[0] for row in rows] == ["d.jpg", "b, c.jpg"]


def test_several_loaders_and_no_names(tmp_path: Path) -> None:
    header, *rows = predict(tmp_path, None, 2, 3)
    assert header[3:] == ["0", "1", "2"]
    assert [row[0] for row in rows] == ["0", "1", "0", "1", "2"]
