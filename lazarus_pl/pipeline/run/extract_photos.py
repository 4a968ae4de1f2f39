"""``lazarus extract`` as a run asks for it."""

from __future__ import annotations

from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.views.views_spec import ViewsSpec


def extract_photos(settings: RunSettings, views: ViewsSpec) -> None:
    """Extracts what is not in the run's cache yet.

    Args:
        settings: Of the run.
        views: Which, and of whose photos.

    Raises:
        LazarusError: As lazarus extract does.
    """
    from lazarus_pl.pipeline.extract import extract

    extract(
        settings.data,
        settings.cache,
        encoder=settings.encoder,
        split=settings.split,
        label_from=settings.label_from,
        corrections=settings.corrections,
        views=views,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        engine=settings.engine,
    )
