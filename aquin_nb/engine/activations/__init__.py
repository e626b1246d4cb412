"""Activations: probes and captures, corpora, the chunked store and the shuffled stream.

Import from the modules themselves (`from aquin_nb.engine.activations.store import Store`): nothing is imported here,
so that `manifest` and `capture` open an old capture on a machine without torch.
"""
