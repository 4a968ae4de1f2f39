"""How far to trust a prediction: calibration, prediction sets, distance from training."""
