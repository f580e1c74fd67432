"""What trains and tests a network, and what a run leaves behind."""
