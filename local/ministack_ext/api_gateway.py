"""API Gateway REST: what SAM writes into the OpenAPI document takes effect, and Lambda learns whose key it was."""

from __future__ import annotations

import contextvars
import gzip
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ministack.services import apigateway_v1
from ministack.services.cloudformation import provisioners

# API Gateway's fixed limit on a request body: 10 MB.
_MAX_BODY_BYTES = 10 * 1024 * 1024

# Where MiniStack keeps what an OpenAPI document defines, by the API's id: all but stages and deployments.
_DEFINED_BY_A_DOCUMENT = (
    apigateway_v1._rest_apis,
    apigateway_v1._resources,
    apigateway_v1._authorizers_v1,
    apigateway_v1._models,
    apigateway_v1._gateway_responses,
    apigateway_v1._documentation_parts,
    apigateway_v1._request_validators,
)

_PARAMETER_PLACES = {"query": "querystring", "header": "header", "path": "path"}

_INTEGRATION_FIELDS = (
    "httpMethod",
    "uri",
    "credentials",
    "requestTemplates",
    "requestParameters",
    "passthroughBehavior",
    "timeoutInMillis",
    "contentHandling",
)


@dataclass
class _Import:
    """The OpenAPI document being imported, and the ids of what it defines for the whole API."""

    spec: dict[str, Any]
    ready: bool = False
    validators: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def define_shared_parts(self, api_id: str) -> None:
        """Create the API's models and request validators, before its first operation refers to them."""
        if self.ready:
            return
        self.ready = True
        schemas = self.spec.get("definitions") or self.spec.get("components", {}).get("schemas") or {}
        for name, schema in schemas.items():
            model = {"name": name, "contentType": "application/json", "schema": json.dumps(schema)}
            apigateway_v1._create_model(api_id, model)
            # SAM writes a reference to a model in lower case.
            self.models[name.lower()] = name
        for name, validator in (self.spec.get("x-amazon-apigateway-request-validators") or {}).items():
            _, _, created = apigateway_v1._create_request_validator(api_id, {"name": name, **validator})
            self.validators[name] = json.loads(created)["id"]

    def model_of(self, schema: dict[str, Any]) -> str:
        """The name of the model that a `$ref` points to."""
        name: str = schema["$ref"].rsplit("/", 1)[1]
        return self.models.get(name.lower(), name)


_current_import: contextvars.ContextVar[_Import] = contextvars.ContextVar("current_import")


def install() -> None:
    """Apply this module's patches."""
    _imports_the_whole_document()
    _a_changed_document_keeps_the_api()
    _too_large_bodies_are_refused()
    _lambda_learns_the_api_key()
    _a_call_that_lambda_does_not_answer_gets_the_templates_response()
    _large_answers_are_compressed()


def _imports_the_whole_document() -> None:
    """An OpenAPI document defines validators, models, parameters, CORS mocks and gateway responses.

    AWS: imports them all, and a SAM template has no other way to say them.
    MiniStack: takes paths, methods, the integration's type, URI and method, and drops the rest.
    """
    import_rest_api = apigateway_v1._import_rest_api
    import_operation = apigateway_v1._import_operation

    def import_with_gateway_responses(spec: dict[str, Any], base_data: Any = None) -> str:
        token = _current_import.set(_Import(spec))
        try:
            api_id: str = import_rest_api(spec, base_data)
        finally:
            _current_import.reset(token)
        for kind, response in (spec.get("x-amazon-apigateway-gateway-responses") or {}).items():
            apigateway_v1._put_gateway_response(api_id, kind, _known_variables(response))
        if "x-amazon-apigateway-binary-media-types" in spec:
            apigateway_v1._rest_apis[api_id]["binaryMediaTypes"] = spec["x-amazon-apigateway-binary-media-types"]
        return api_id

    def import_whole_operation(
        api_id: str, resource_id: str, verb: str, operation: dict[str, Any] | None, *security: Any
    ) -> None:
        import_operation(api_id, resource_id, verb, operation, *security)
        document = _current_import.get()
        document.define_shared_parts(api_id)
        method = apigateway_v1._resources[api_id][resource_id]["resourceMethods"][verb]
        _set_request(method, operation or {}, document)
        _set_integration(api_id, resource_id, verb, operation or {})

    apigateway_v1._import_rest_api = import_with_gateway_responses
    apigateway_v1._import_operation = import_whole_operation


def _a_changed_document_keeps_the_api() -> None:
    """A changed OpenAPI document changes the API of the stack.

    AWS: replaces what the API defines; its id, and so its address, its stages and its place in usage plans stay.
    MiniStack: makes another API with another id, and deletes the one before.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::RestApi"]
    create, update = handler["create"], handler["update"]

    def update_in_place(
        api_id: str, old: dict[str, Any], properties: dict[str, Any], stack: str, logical_id: str | None = None
    ) -> Any:
        if properties.get("Body") == old.get("Body"):
            return update(api_id, old, properties, stack, logical_id)
        imported, _ = create(logical_id or api_id, properties, stack)
        created = apigateway_v1._rest_apis[api_id]["createdDate"]
        for store in _DEFINED_BY_A_DOCUMENT:
            store[api_id] = store.pop(imported, {})
        api = apigateway_v1._rest_apis[api_id]
        api.update(id=api_id, createdDate=created)
        apigateway_v1._v1_tags[apigateway_v1._rest_api_arn(api_id)] = api["tags"]
        for store, key in (
            (apigateway_v1._stages_v1, imported),
            (apigateway_v1._deployments_v1, imported),
            (apigateway_v1._v1_tags, apigateway_v1._rest_api_arn(imported)),
        ):
            store.pop(key, None)
        return api_id, provisioners._apigw_rest_api_attrs(api_id)

    handler["update"] = update_in_place


def _known_variables(response: dict[str, Any]) -> dict[str, Any]:
    """A gateway response without the variable that MiniStack does not know: it gives both ids the same value."""
    templates = response.get("responseTemplates") or {}
    known = {name: text.replace("$context.extendedRequestId", "$context.requestId") for name, text in templates.items()}
    return {**response, "responseTemplates": known}


def _set_request(method: dict[str, Any], operation: dict[str, Any], document: _Import) -> None:
    """Give a method its validator, models and parameters."""
    validator = operation.get("x-amazon-apigateway-request-validator") or document.spec.get(
        "x-amazon-apigateway-request-validator"
    )
    if validator in document.validators:
        method["requestValidatorId"] = document.validators[validator]
    models = method.setdefault("requestModels", {})
    for parameter in operation.get("parameters") or []:
        if parameter.get("in") == "body":
            models["application/json"] = document.model_of(parameter["schema"])
        elif parameter.get("in") in _PARAMETER_PLACES:
            place = _PARAMETER_PLACES[parameter["in"]]
            name = f"method.request.{place}.{parameter['name']}"
            method.setdefault("requestParameters", {})[name] = bool(parameter.get("required"))
    for content_type, content in operation.get("requestBody", {}).get("content", {}).items():
        models[content_type] = document.model_of(content["schema"])


def _set_integration(api_id: str, resource_id: str, verb: str, operation: dict[str, Any]) -> None:
    """Give a method its whole integration, and its responses."""
    integration = operation.get("x-amazon-apigateway-integration")
    if not integration:
        return
    fields = {name: integration[name] for name in _INTEGRATION_FIELDS if name in integration}
    apigateway_v1._put_integration(api_id, resource_id, verb, {"type": integration["type"].upper(), **fields})
    for status, response in (operation.get("responses") or {}).items():
        headers = {f"method.response.header.{name}": False for name in response.get("headers", {})}
        apigateway_v1._put_method_response(api_id, resource_id, verb, str(status), {"responseParameters": headers})
    for pattern, response in (integration.get("responses") or {}).items():
        mapped = {
            "selectionPattern": "" if pattern == "default" else pattern,
            "responseParameters": response.get("responseParameters", {}),
            "responseTemplates": response.get("responseTemplates", {}),
        }
        apigateway_v1._put_integration_response(api_id, resource_id, verb, str(response["statusCode"]), mapped)


def _too_large_bodies_are_refused() -> None:
    """A request of more than 10 MB gets the API's 413 response.

    AWS: REQUEST_TOO_LARGE. MiniStack: passes a body of any size to Lambda.
    """
    validate = apigateway_v1._check_request_validation

    def validate_size_first(
        method: Any, api_id: str, request: Any, headers: Any, body: bytes | None, *others: Any
    ) -> Any:
        if body and len(body) > _MAX_BODY_BYTES:
            return apigateway_v1._gw_error("REQUEST_TOO_LARGE", "Request Too Long")
        return validate(method, api_id, request, headers, body, *others)

    apigateway_v1._check_request_validation = validate_size_first


def _lambda_learns_the_api_key() -> None:
    """A function behind a method that needs a key is told which key it was.

    AWS: requestContext.identity holds apiKey and apiKeyId. MiniStack: leaves them out.
    """
    build_event = apigateway_v1._build_lambda_event_v1

    def build_event_with_key(
        api_id: str,
        stage: str,
        settings: Any,
        resource: Any,
        path: str,
        verb: str,
        headers: Any,
        *others: Any,
        **more: Any,
    ) -> dict[str, Any]:
        event: dict[str, Any] = build_event(api_id, stage, settings, resource, path, verb, headers, *others, **more)
        methods = resource["resourceMethods"]
        key = apigateway_v1._resolve_api_key(apigateway_v1._api_key_from_request(headers))
        if key and (methods.get(verb) or methods.get("ANY") or {}).get("apiKeyRequired"):
            event["requestContext"]["identity"].update(apiKey=key["value"], apiKeyId=key["id"])
        return event

    apigateway_v1._build_lambda_event_v1 = build_event_with_key


class _UnansweredError(Exception):
    """Lambda did not run the function, or the function did not answer."""

    def __init__(self, response_type: str, status: int | None = None) -> None:
        super().__init__(response_type)
        self.error = apigateway_v1._gw_error(response_type, "Internal server error")
        self.error.status = status  # instead of the response's own


def _a_call_that_lambda_does_not_answer_gets_the_templates_response() -> None:
    """A throttled function is an INTEGRATION_FAILURE of the API, and a function that fails a 502 of the API.

    AWS: answers both by the API's gateway responses. (That a throttle is an INTEGRATION_FAILURE, where that is
    customized, was measured by users; the documentation does not say it. See docs/decisions.md, 38.)
    MiniStack: answers a throttle with Lambda's own body, and a failure with a body that no template can change.
    """
    shape = apigateway_v1._lambda_proxy_response
    invoke = apigateway_v1._invoke_lambda_proxy_v1
    render = apigateway_v1._gateway_error_response

    def shape_answer(result: dict[str, Any]) -> Any:
        if result.get("throttle"):
            raise _UnansweredError("INTEGRATION_FAILURE")
        response, error = shape(result)
        if error:
            raise _UnansweredError("DEFAULT_5XX", status=502)
        return response, error

    async def invoke_with_gateway_responses(*arguments: Any, **more: Any) -> Any:
        try:
            return await invoke(*arguments, **more)
        except _UnansweredError as unanswered:
            return unanswered.error

    def render_with_status(error: Any, request: Any) -> Any:
        status, headers, body = render(error, request)
        return getattr(error, "status", None) or status, headers, body

    apigateway_v1._lambda_proxy_response = shape_answer
    apigateway_v1._invoke_lambda_proxy_v1 = invoke_with_gateway_responses
    apigateway_v1._gateway_error_response = render_with_status


def _large_answers_are_compressed() -> None:
    """An answer from the API's minimumCompressionSize on is sent with gzip to who says that they accept it.

    AWS: so, unless the integration has encoded it already. MiniStack: keeps the number, and compresses nothing.
    """
    execute = apigateway_v1._handle_execute_in_scope

    async def execute_and_compress(
        api_id: str, stage: str, verb: str, path: str, headers: Any, *others: Any
    ) -> tuple[int, dict[str, Any], bytes]:
        status, sent, body = await execute(api_id, stage, verb, path, headers, *others)
        least = apigateway_v1._rest_apis.get(api_id, {}).get("minimumCompressionSize")
        accepted = re.split(r"[\s,;]+", apigateway_v1._header_ci(headers, "accept-encoding").lower())
        is_encoded = "content-encoding" in map(str.lower, sent)
        if least is None or len(body) < int(least) or "gzip" not in accepted or is_encoded:
            return status, sent, body
        return status, {**sent, "Content-Encoding": "gzip"}, gzip.compress(body, mtime=0)

    apigateway_v1._handle_execute_in_scope = execute_and_compress
