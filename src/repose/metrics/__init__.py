"""One pure function per metric, its protocol in the name."""
