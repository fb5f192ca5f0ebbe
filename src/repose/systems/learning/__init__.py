"""What the kinds of systems share in training: the adversarial step, optimizers, several processes."""
