"""Data validation: expectations on photos, keypoints and pairs, and the page with the results."""
