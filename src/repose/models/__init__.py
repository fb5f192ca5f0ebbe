"""Networks: the paper's and our own generator, discriminators, VGG19, and what they share."""
