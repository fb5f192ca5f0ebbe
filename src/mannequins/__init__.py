"""Rendered people: the renderer, the network that finds their joints and clothes (`figure`), and its training."""
