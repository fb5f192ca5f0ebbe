"""Tables that compare systems, as Markdown, CSV and an image."""
