"""The operator's command `petdetect`: what failed and why, the whole story of an image, starting it again, its price.

`cli` is the command line, `output` and `cost_output` what a person reads; `records`, `story`, `restart` and `status`
find out and act; `cost` computes the bill from what `definitions` reads, `actual_cost` from what ran; `environment`
knows the deployed stack; `next_steps` and `errors` say what to do. The rules are `pet_detector`'s own: this package
decides nothing that the workflow decides.
"""
