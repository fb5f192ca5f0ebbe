"""repose: pose-guided fashion image synthesis. Photos of a garment in, the same garment in any other pose out."""

__version__ = "0.1.0"
