"""A page that makes voices and shows, by itself, what becomes of each."""
