"""Lightning callbacks for any LightningModule: they import torch and lightning, nothing of ours."""

from callbacks.carry_best import CarryBest
from callbacks.checkpoint_versions import CheckpointVersions
from callbacks.gradient_monitor import GradientMonitor
from callbacks.layerwise_groups import layerwise_groups
from callbacks.memory_budget import MemoryBudget
from callbacks.metric_rollback import MetricRollback
from callbacks.mixed_precision_guard import MixedPrecisionGuard
from callbacks.phase import Phase
from callbacks.predictions_csv import PredictionsCSV
from callbacks.progressive_unfreezing import ProgressiveUnfreezing
from callbacks.training_timeline import TrainingTimeline

__all__ = [
    "CarryBest",
    "CheckpointVersions",
    "GradientMonitor",
    "MemoryBudget",
    "MetricRollback",
    "MixedPrecisionGuard",
    "Phase",
    "PredictionsCSV",
    "ProgressiveUnfreezing",
    "TrainingTimeline",
    "layerwise_groups",
]
