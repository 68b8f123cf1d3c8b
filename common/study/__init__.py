"""What one asks of a ticket: its controls, and measurements beside them."""
