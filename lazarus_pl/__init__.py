"""From a folder of leaf photographs to an honest, explained plant-disease classifier.

The command ``lazarus`` does it; its verbs are in :mod:`lazarus_pl.pipeline`. Each room below can be
imported by itself:

- ``data``: photos, splits that keep a leaf together, decoding, drawn leaves.
- ``encoder``: the frozen timm backbone and the engines that run it.
- ``leaf``, ``views``: masks of leaves; augmented views that are the same on every machine.
- ``cache``: features in resumable micro-jobs, mapped from the disk.
- ``datamodules``, ``heads``, ``tasks``: LightningDataModules, classifiers on features,
  LightningModules.
- ``grid``: many trainings of one config file, and their leaderboard.
- ``explain``: heat-maps, and scores that check them.
- ``doubt``, ``export``: calibration, prediction sets, unknown photos; ONNX.
- ``audit``: what is wrong with the data, what each step will cost.

Callbacks for any Lightning project are in the package ``callbacks`` beside this one.
"""

__version__ = "0.1.0"
