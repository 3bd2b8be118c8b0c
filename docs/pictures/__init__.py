"""Pictures of the page for page.md."""
