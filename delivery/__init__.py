"""What the pipeline runs, and anyone by hand: one artifact is built, and deployed unchanged everywhere.

docs/delivery.md draws it.
"""
