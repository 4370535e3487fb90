"""Vector functions: lists of operations, or Python functions, run over whole arrays in one pass."""
