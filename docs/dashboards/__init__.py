"""The dashboards of stacks/observability.yaml as pictures, so that a reader sees what there will be."""
