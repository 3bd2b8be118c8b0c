"""Prices that tests know by heart, whatever the price file says by now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pet_detector.rules.prices import prices

# In us-east-1 on 2026-11-21: dollars a million units, ...
A_MILLION = {
    "rekognition_image": 1000,
    "states_standard_transition": 25,
    "lambda_request": 0.2,
    "lambda_gb_second_arm64": 13.3334,
    "lambda_gb_second_x86_64": 16.6667,
    "dynamodb_write_unit": 0.625,
    "dynamodb_read_unit": 0.125,
    "s3_put": 5,
    "s3_get": 0.4,
    "sns_publish": 0.5,
    "sns_email": 20,
    "sns_https": 0.6,
    "api_request": 3.5,
    "eventbridge_s3_event": 1,
    "scheduler_invocation": 1,
    "xray_trace": 5,
    "kms_request": 3,
    "cloudtrail_data_event": 1,
    "guardduty_s3_event": 0.8,
    "guardduty_management_event": 4,
    "s3_standard_ia_transition": 10,
    "s3_standard_ia_get": 1,
    "s3_glacier_ir_transition": 20,
    "s3_glacier_ir_get": 10,
    "cloudfront_request": 1,
    "waf_request": 0.6,
}
# ... and dollars each.
EACH = {
    "dynamodb_storage_gb_month": 0.25,
    "dynamodb_pitr_gb_month": 0.20,
    "s3_storage_gb_month": 0.023,
    "s3_standard_ia_storage_gb_month": 0.0125,
    "s3_standard_ia_retrieval_gb": 0.01,
    "s3_glacier_ir_storage_gb_month": 0.004,
    "s3_glacier_ir_retrieval_gb": 0.03,
    "logs_gb": 0.50,
    "logs_storage_gb_month": 0.03,
    "cloudwatch_metric_month": 0.30,
    "cloudwatch_alarm_month": 0.10,
    "cloudwatch_composite_alarm_month": 0.50,
    "cloudwatch_dashboard_month": 3.00,
    "cloudwatch_dashboards_free": 3,
    "kms_key_month": 1.00,
    "config_item": 0.003,
    "config_evaluation": 0.001,
    "waf_acl_month": 5.00,
    "waf_rule_month": 1.00,
    "secret_month": 0.40,
    "health_check_month": 0.50,
    "health_check_https_month": 1.00,
    "vpc_endpoint_zone_hour": 0.01,
    "vpc_endpoint_gb": 0.01,
    "backup_s3_gb_month": 0.05,
    "backup_dynamodb_gb_month": 0.10,
    "s3_to_second_region_gb": 0.02,
    "s3_replication_time_gb": 0.015,
}


@pytest.fixture
def set_price(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, float], None]]:
    """Changes a price of the file for a test."""

    def change(name: str, price: float) -> None:
        assert name in prices()
        monkeypatch.setitem(prices(), name, price)

    yield change
    prices.cache_clear()


@pytest.fixture
def pinned_prices(set_price: Callable[[str, float], None]) -> None:
    """Every price of the file is the one above."""
    pinned = {name: price / 1_000_000 for name, price in A_MILLION.items()} | EACH
    assert set(pinned) == set(prices())
    for name, price in pinned.items():
        set_price(name, price)
