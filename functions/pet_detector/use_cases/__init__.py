"""What takes several AWS services to do, and must stay right when any of their calls fails."""
