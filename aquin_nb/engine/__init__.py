"""The numbers. Knows no notebook, no network service and no card store."""
