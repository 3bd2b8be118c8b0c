"""The domain of the Pet Detector: what a picture is, what is on it, where it belongs and who must hear of it.

`models`, `errors`, `policy` and `image_format` are pure. `recognizer` (Amazon Rekognition), `images` (Amazon S3),
`catalogue` (Amazon DynamoDB) and `notices` (Amazon SNS) are the boundaries: only they call AWS, and they translate
AWS's errors into the domain's own. `settings` and `observability` stand at the bottom.
"""
