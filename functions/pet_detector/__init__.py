"""What the functions share. The folder says what a module may import: only from the folders below its own.

    <function>/app.py   the handlers: extract, call, return
    use_cases/          what needs several AWS services: analyse once, notify once, reconcile
    aws/                one module per AWS service or table; only here boto3
    runtime/            what Lambda gives a function: settings, logs and metrics, the HTTP router
    rules/              pure: no AWS, no environment, no clock

The contracts of import-linter in pyproject.toml hold this.
"""
