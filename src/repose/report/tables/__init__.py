"""Tables of scores: systems laid side by side, and how scores are written as Markdown, CSV and a picture."""
