"""One pure function per metric, its protocol in the name; `catalogue` has them all by name."""
