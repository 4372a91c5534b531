"""A fleet of workers over one PostgreSQL server, and what may happen to them."""
