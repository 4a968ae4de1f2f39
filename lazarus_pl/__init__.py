"""From a folder of leaf photographs to an honest, explained plant-disease classifier."""

__version__ = "0.1.0"
