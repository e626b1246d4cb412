"""aquin-nb: sparse autoencoders in the notebook."""
