"""Bytes in and out: S3 and HTTP, archives, whole files, weights, the DVC remote and the model registry."""
