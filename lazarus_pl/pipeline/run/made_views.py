"""The views that a run has made."""

from __future__ import annotations

from dataclasses import replace

from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.stage import Records, is_done
from lazarus_pl.views.views_spec import ViewsSpec


def made_views(settings: RunSettings, before: Records) -> ViewsSpec:
    """Those that were asked for, and how many of them there are of each photo of train.

    Args:
        settings: Of the run.
        before: Records of its stages.
    """
    asked = settings.views
    if not is_done(before, "views"):
        return replace(asked, count=0)
    if before["views"].state == "done":
        return asked
    from lazarus_pl.cache.cached_views import CachedViews
    from lazarus_pl.cache.feature_cache import FeatureCache

    there = CachedViews(FeatureCache(settings.cache), ViewsHeader.of_spec(asked).digest).count
    return replace(asked, count=min(there, asked.count))
