"""Bundles written for other runtimes."""
