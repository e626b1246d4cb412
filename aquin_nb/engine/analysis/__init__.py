"""What dictionaries say: diff of two models, alignment of two dictionaries, features of a text."""
