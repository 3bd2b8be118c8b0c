"""The calls of AWS, one module per service or table. AWS's errors leave as the domain's own (`errors`)."""
