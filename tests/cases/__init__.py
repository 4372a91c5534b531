"""The numbered cases that the library is held to, one test or more for each."""
