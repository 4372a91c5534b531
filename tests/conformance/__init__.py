"""The API as one document, and what is held against it."""
