"""Images from photos and poses with a trained method."""
