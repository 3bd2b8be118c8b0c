"""The domain of the Pet Detector: what a picture is, what is on it, where it belongs and who must hear of it.

`models`, `errors`, `policy`, `image_format`, `prices` and `activity` (what a change of a record means) are pure.
`recognizer` (Amazon Rekognition), `images` (Amazon S3), `catalogue` and `analyses` (Amazon DynamoDB), `executions` (AWS
Step Functions), `policy_parameter` (AWS Systems Manager) and `notices` (Amazon SNS) are the boundaries: they call AWS,
each for itself, and translate AWS's errors into the domain's own. Only `dependencies` calls AWS besides them: it asks
whether those services answer. What needs several of them stands above: `notifier` tells people of a fact once,
`reconciler` finishes what was left unfinished. `aws_errors`, `settings` and `observability` stand at the bottom,
`http_api` is what the API's functions share.
"""
