"""The rules: the words of the domain and the decisions. Pure: no AWS, no environment, no clock."""
