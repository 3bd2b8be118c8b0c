"""The operator's command `petdetect`: what failed and why, the whole story of an image, starting it again.

`cli` is the command line, `output` what a person reads; `records`, `story`, `redrive` and `status` find out and act,
`environment` knows the deployed stack, `advice` and `errors` hold the words. The rules are `pet_detector`'s own: this
package decides nothing that the workflow decides.
"""
