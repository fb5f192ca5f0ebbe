"""The systems of Table 1 and our own: layers, generators, discriminators, and the table of rows."""
