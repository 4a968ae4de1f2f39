"""Photos on disk to manifest to splits; decoding; drawn leaves."""
