"""What a bundle learns from its validation cases: scores, calibration, post-processing."""
