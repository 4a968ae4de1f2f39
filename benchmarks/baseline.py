"""The leaderboard's winner against careful scikit-learn on the same features and split.

    python benchmarks/baseline.py --cache CACHE --run RUN

scikit-learn: standardised pooled features; logistic regression and an RBF support vector machine,
plain and class-weighted, with the regularisation chosen on val. Test is read once, by the one
chosen, and was read once by the grid for its winner.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

from report import report
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lazarus_pl.cache.feature_cache import FeatureCache


def candidates() -> dict[str, Pipeline]:
    """The models that are tried."""
    found = {}
    for weights in (None, "balanced"):
        suffix = ", balanced" if weights else ""
        for c in (0.001, 0.01, 0.1, 1, 10):
            model = LogisticRegression(C=c, max_iter=2000, class_weight=weights)
            found[f"logistic regression C={c}{suffix}"] = make_pipeline(StandardScaler(), model)
        for c in (1, 10, 100):
            model = SVC(C=c, class_weight=weights)
            found[f"RBF SVM C={c}{suffix}"] = make_pipeline(StandardScaler(), model)
    return found


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="of lazarus grid on that cache")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    cache = FeatureCache(options.cache)
    sides = {}
    for side in ("train", "val", "test"):
        indices = cache.indices(side)
        sides[side] = cache.gather("pooled", indices).astype("float32"), cache.targets[indices]
    scores: dict[str, float] = {}
    models = candidates()
    for name, model in models.items():
        model.fit(*sides["train"])
        features, targets = sides["val"]
        scores[name] = float(f1_score(targets, model.predict(features), average="macro"))
        print(f"{name}: val macro-F1 {scores[name]:.4f}", flush=True)
    chosen = max(scores, key=lambda name: scores[name])
    features, targets = sides["test"]
    predicted = models[chosen].predict(features)
    summary = json.loads((options.run / "summary.json").read_text(encoding="utf-8"))
    report(
        "baseline",
        [
            {
                "what": f"scikit-learn: {chosen}",
                "val_macro_f1": scores[chosen],
                "test_macro_f1": float(f1_score(targets, predicted, average="macro")),
                "test_accuracy": float(accuracy_score(targets, predicted)),
            },
            {
                "what": f"lazarus grid: {summary['run']}",
                "val_macro_f1": summary["val_macro_f1"],
                "test_macro_f1": summary["test_macro_f1"],
                "test_accuracy": summary["test_accuracy"],
            },
        ],
        {"photos": len(cache.manifest.photos), "tried": len(scores)},
    )


if __name__ == "__main__":
    main()
