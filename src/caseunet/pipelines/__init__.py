"""One file per verb; the command line and other programs call the same functions."""
