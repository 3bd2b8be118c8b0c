"""What security linters say of templates, code and workflows of CI, each finding with its reason: `make audit`."""
