"""How the figure network of `mannequins.figure` is made: mannequins rendered, the network trained on them and scored."""
