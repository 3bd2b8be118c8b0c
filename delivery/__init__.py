"""What the pipeline runs, and anyone by hand: one artifact is built, and deployed unchanged to each environment (docs/delivery.md)."""
