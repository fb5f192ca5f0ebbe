"""Networks that scores are made with and that repose did not train: their files, and one module for each."""
