"""Make the weights of `mannequins.surface`: render people, train the system surface on them, export and score it."""
