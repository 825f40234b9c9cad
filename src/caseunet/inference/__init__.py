"""From a bundle and images to label maps."""
