"""Every page, figure and table."""
