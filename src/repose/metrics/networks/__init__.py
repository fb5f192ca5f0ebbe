"""The networks behind metrics."""
