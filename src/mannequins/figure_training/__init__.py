"""Make the figure network of `mannequins.figure`: render mannequins, train the network on them, and score it."""
