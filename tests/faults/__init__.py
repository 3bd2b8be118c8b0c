"""The fault matrix: `make faults` breaks every call of the application in every way, and looks what became of it."""
