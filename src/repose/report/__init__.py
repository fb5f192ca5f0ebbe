"""Scores for people: compared with gates, on the page of a run, side by side in tables, on model cards."""
