"""Measures of agreement between masks, as pure functions."""
