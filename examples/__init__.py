"""Applications to start from; each has a README of its own."""
