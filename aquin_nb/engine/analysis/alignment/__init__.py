"""The parts of an alignment: directions, neighbours, null, margins, classes, firings. `align` puts them together."""
