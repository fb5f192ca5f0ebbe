"""Generate images from photos and poses with a trained system."""
