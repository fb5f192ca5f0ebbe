"""Data validation: expectations on photos, keypoints and pairs, and the page that shows what held."""
