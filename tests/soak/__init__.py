"""Long lives in short: what must not grow, however much was done."""
