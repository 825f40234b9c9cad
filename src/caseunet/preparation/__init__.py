"""From a raw data set to a prepared one: its grid, its arrays and its description."""
