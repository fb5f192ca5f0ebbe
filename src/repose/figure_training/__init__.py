"""How the figure network of `repose.figure` is made: mannequins rendered, the network trained on them and scored."""
