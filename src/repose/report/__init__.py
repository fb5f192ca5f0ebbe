"""The page of a run: what its scores, images, checks and costs are, in one HTML file that needs nothing else."""
