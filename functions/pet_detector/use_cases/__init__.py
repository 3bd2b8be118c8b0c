"""What takes calls of several AWS services, and must stay correct when any of them fails."""
