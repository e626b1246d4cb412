"""The board: keeps every event that a session hands over and shows the cards they make. Never imports torch."""
