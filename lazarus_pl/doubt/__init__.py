"""How far to trust a prediction: calibration, prediction sets, and how far a photo is from train."""
