"""Lightning callbacks for any LightningModule: they import torch and lightning, nothing of ours."""

from callbacks.predictions_csv import PredictionsCSV

__all__ = ["PredictionsCSV"]
