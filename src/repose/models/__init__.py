"""Networks: generators, discriminators, VGG19, and their losses and shared layers."""
