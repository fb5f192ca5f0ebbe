"""How the weights that come with repose are made: from renderings alone, with the renderer's truth (docs/surface.md)."""
