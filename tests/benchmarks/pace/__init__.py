"""A simulation of many images at once, in virtual time: when each one asks Rekognition, and what the waiting costs.

The product's own code decides (analyser, analyses, turns, detection_logs); the retriers are those
of image_workflow.asl.yaml. What stands in for AWS is simple and says what it assumes:

    virtual_time    the clock, events in their order, and how the product's code runs in it
    dynamodb        the items of its tables, with the expressions that the product writes
    cloud           Step Functions, Lambda, Rekognition: their quotas and how late they are
    workflow        an image's way through the state machine; and the way before images took turns, for comparison
    scenarios       how many images, at which pace, what else goes on; what came of it
    table           what `make bench` runs, its table, and what must be true
"""
