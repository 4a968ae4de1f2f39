"""Lightning callbacks for any LightningModule: they import torch and lightning, nothing of ours."""

from callbacks.carry_best import CarryBest
from callbacks.metric_rollback import MetricRollback
from callbacks.predictions_csv import PredictionsCSV

__all__ = ["CarryBest", "MetricRollback", "PredictionsCSV"]
