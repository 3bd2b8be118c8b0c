"""What Lambda gives a function: environment variables, logs and metrics, HTTP requests."""
