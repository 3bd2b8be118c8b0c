"""The operator's command `petdetect`: what failed and why, the whole story of an image, starting it again, its price.

`cli` is the command line, `output` and `cost_output` what a person reads; `records`, `story`, `redrive`, `dismissal`
and `status` find out and act; `cost` and `fixed_cost` compute the bill from what `shipped` reads, `actual_cost` from
what ran; `environment` knows the deployed stack, `advice` and `errors` hold the words. The rules are `pet_detector`'s
own: this package decides nothing that the workflow decides.
"""
