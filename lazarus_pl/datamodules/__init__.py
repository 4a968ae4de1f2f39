"""LightningDataModules over cached features."""
