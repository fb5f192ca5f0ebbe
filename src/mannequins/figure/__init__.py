"""The figure network, which finds joints and garments of mannequins; its weights ship with repose (docs/figure.md).

network = mannequins.figure.load(device)
"""

from mannequins.figure.network import FEATURES, THRESHOLD, FigureNetwork, for_single_photos, load, weights_sha256

__all__ = ["FEATURES", "THRESHOLD", "FigureNetwork", "for_single_photos", "load", "weights_sha256"]
