"""What users call: the BLAS routines, and where each call runs."""
