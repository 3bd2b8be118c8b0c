"""The rules: the types of the domain and the decisions. Pure: no AWS, no environment, no clock."""
