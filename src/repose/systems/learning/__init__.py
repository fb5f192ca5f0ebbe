"""Training code that the kinds of systems share: the adversarial step, optimizers, distributed training."""
