"""PREPARED data sets and the batches drawn from them."""
