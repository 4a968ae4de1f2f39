"""The timm backbone, where its weights come from, and what runs it."""
