"""The stages of the pipeline, one module each. A stage is a function of paths and its own frozen settings."""
