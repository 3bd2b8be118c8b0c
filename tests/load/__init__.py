"""Load: named scenarios against the local AWS or a deployed stage. `make load` runs __main__.

__main__    the command: which scenarios, against what, the reports, the exit code
scenarios   the scenarios: how many clients do what, and for how long
locustfile  what a client does; runs in Locust's own environment (requirements.txt), one run a scenario
answers     which answer is right, which is an error, and which asks to try again; the pictures that are sent
ledger      what Locust's run leaves for the summary: every request and every accepted image
stages      what is known about what was loaded: images by their ids; of the local AWS also notices and calls
summary     the one table, and whether all went well
"""
