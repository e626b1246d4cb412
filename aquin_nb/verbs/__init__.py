"""The verbs of a session, one module each: validate in the cell, work in the engine, hand back a result."""
