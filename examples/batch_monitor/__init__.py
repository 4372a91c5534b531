"""Make hundreds of voices from a table, and lose none of them."""
