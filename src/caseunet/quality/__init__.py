"""How usual an image is, and how good its mask is expected to be."""
