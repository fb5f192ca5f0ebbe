"""repose: pose-guided fashion image synthesis. Photos of a garment in, the same garment in any other pose out."""

import logging

__version__ = "0.1.0"

logging.getLogger("repose").addHandler(logging.NullHandler())  # silent unless the program configures logging
