"""Reports on scores: comparisons with gates, the page of a run, tables of systems, and model cards."""
