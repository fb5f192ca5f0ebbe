"""Transfers from S3 and HTTP, atomic writes, weights, the DVC remote and the model registry."""
