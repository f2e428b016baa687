"""Get images in, keep them, know where they came from."""
