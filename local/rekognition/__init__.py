"""A local stand-in for Amazon Rekognition DetectLabels that looks at the real pixels.

Run it from the repository root with `python -m local.rekognition`. The labels come from EfficientNet-Lite0, a
network trained on ImageNet's 1,000 classes and run here in numpy alone. It is not Amazon Rekognition: it knows no
people, scenes or bounding boxes, and its confidences differ. Each answer says so in `LabelModelVersion`. What is unsafe
it cannot judge at all.

    __main__        command line: start, ready line, clean stop
    server          HTTP and AWS JSON 1.1
    calls           which calls came when, and a quota of calls a second
    request         what both operations share: the picture, the caller's rights, Amazon's limits and error names
    detect_labels   DetectLabels: looks at the picture
    detect_moderation_labels  a stub: says of every picture that it is safe, unless a test has marked its file
    s3_objects      reads Image.S3Object from the local S3
    classifier      image bytes -> labels
    preprocess      image bytes -> network inputs
    network         network inputs -> logits
    weights         the installed weights file -> arrays
"""

import os

# Must be set before numpy is first imported. One BLAS thread, because the views of an image already run in parallel:
# 4 views on 2 cores take 78 ms so, and 152 ms when each of 2 view threads also starts 2 BLAS threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
