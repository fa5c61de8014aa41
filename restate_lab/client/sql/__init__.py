"""SQL statements: bind parameters, split into tokens, limit the shape, and suggest names."""
