"""One-to-one matching of two sets of directions: the parts that `analysis.assignment` is made of."""
