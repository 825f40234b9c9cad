"""What arrays show, by numpy alone: shared by whoever reads raw data and whoever prepares and segments them."""
