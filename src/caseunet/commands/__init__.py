"""One file per verb. The command line and other programs call the same functions."""
