"""The stages, one file each: files in, files out. Each is a function of paths and its own frozen settings."""
