"""Features -> ranking -> numbers."""
