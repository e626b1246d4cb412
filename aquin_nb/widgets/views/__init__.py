"""What each kind of view is given: the embedded digest, and answers to what the page asks for. Never imports torch."""
