"""Every code of dashscope.md section 7, and what leaks in a message."""

import pytest

from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InvalidImage,
    InvalidRequest,
    RequestTooLarge,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
)
from gateway.translate.dashscope_fault import fault

# status, type, code, retry: product.md section 5
ENVELOPES: dict[type[GatewayError], tuple[int, str, str]] = {
    UpstreamUnavailable: (503, "server_error", "upstream_unavailable"),
    Throttled: (429, "rate_limit_error", "rate_limit_exceeded"),
    ContentRefused: (400, "image_generation_user_error", "moderation_blocked"),
    InvalidImage: (400, "image_generation_user_error", "invalid_image_file"),
    InvalidRequest: (400, "invalid_request_error", "invalid_value"),
    RequestTooLarge: (413, "invalid_request_error", "request_too_large"),
    UpstreamFailed: (500, "server_error", "upstream_failed"),
}

INTERNAL = "An internal error has occured, please try again later or contact service support."
NOT_IN_WORKSPACE = (
    "Access denied: Either you are not authorized to access this workspace, or the workspace"
    " does not exist. Please:\nVerify the workspace configuration."
)
MISSING = "The request is missing required parameters or in a wrong format, please check."

Row = tuple[str, str, type[GatewayError], bool]

KEY_RIGHTS_ACCOUNT: list[Row] = [
    ("InvalidApiKey", "Invalid API-key provided.", UpstreamUnavailable, False),
    ("InvalidApiKey", "No API-key provided.", UpstreamUnavailable, False),
    ("invalid_api_key", "Incorrect API key provided: sk-1.", UpstreamUnavailable, False),
    ("NOT AUTHORIZED", NOT_IN_WORKSPACE, UpstreamUnavailable, False),
    (
        "AccessDenied",
        "current user api does not support synchronous calls.",
        UpstreamFailed,
        False,
    ),
    (
        "access_denied",
        "Current user api does not support asynchronous calls.",
        UpstreamFailed,
        False,
    ),
    ("AccessDenied", "Access denied.", UpstreamUnavailable, False),
    ("AccessDenied", "Invalid according to Policy: Policy expired.", UpstreamFailed, True),
    ("AccessDenied.Unpurchased", "Access to model denied.", UpstreamUnavailable, False),
    ("Model.AccessDenied", "Model access denied.", UpstreamUnavailable, False),
    ("App.AccessDenied", "App access denied.", UpstreamUnavailable, False),
    ("Workspace.AccessDenied", "Workspace access denied.", UpstreamUnavailable, False),
    ("AllocationQuota.FreeTierOnly", "The free tier is exhausted.", UpstreamUnavailable, False),
    ("Arrearage", "Access denied, good standing.", UpstreamUnavailable, False),
    ("CommodityNotPurchased", "Commodity has not purchased yet.", UpstreamUnavailable, False),
    ("PrepaidBillOverdue", "The prepaid bill is overdue.", UpstreamUnavailable, False),
    ("PostpaidBillOverdue", "The postpaid bill is overdue.", UpstreamUnavailable, False),
]
MODEL_ROUTE_FORM: list[Row] = [
    ("ModelNotFound", "Model can not be found.", UpstreamUnavailable, False),
    ("model_not_found", "The model xxx does not exist.", UpstreamUnavailable, False),
    ("Model.NotExist", "Model not exist.", UpstreamUnavailable, False),
    ("model_not_supported", "Unsupported model xxx.", UpstreamUnavailable, False),
    ("WorkSpaceNotFound", "WorkSpace can not be found.", UpstreamUnavailable, False),
    ("NotFound", "Not found!", UpstreamUnavailable, False),
    ("InvalidParameter", "Model not exist.", UpstreamUnavailable, False),
    ("InvalidParameter", "url error, please check url！", UpstreamUnavailable, False),
    ("InvalidParameter", "Required body invalid, please check.", UpstreamFailed, False),
    ("InvalidParameter", "input json error.", UpstreamFailed, False),
    ("InvalidParameter", "Request method 'GET' is not supported.", UpstreamFailed, False),
    ("InvalidParameter", "No messages found in input", UpstreamFailed, False),
    ("InvalidParameter", "messages length only support 1", UpstreamFailed, False),
    ("InvalidParameter", "content length only support 2", UpstreamFailed, False),
    ("InvalidParameter", "lack of image or text", InvalidRequest, False),
    ("InvalidParameter", "Field required: xxx", InvalidRequest, False),
    ("InvalidParameter", "Required parameter(xxx) missing or invalid.", InvalidRequest, False),
    ("InvalidParameter", MISSING, InvalidRequest, False),
    ("InvalidParameter", "the parameters must conform to: xxx.", InvalidRequest, False),
    ("InvalidParameter", "The type or value of {seed} is out.", InvalidRequest, False),
    ("InvalidParameter", "check input data style.", InvalidRequest, False),
    ("InvalidParameter", "Invalid request parameters.", InvalidRequest, False),
    ("InvalidParameter", "num_images_per_prompt must be 1.", InvalidRequest, False),
    ("InvalidParameter", "", InvalidRequest, False),
    ("BadRequest.EmptyModel", 'Required parameter "model" missing.', UpstreamFailed, False),
    ("BadRequest.EmptyInput", "Required input parameter missing.", UpstreamFailed, False),
    ("BadRequest.EmptyParameters", "Required parameter missing.", UpstreamFailed, False),
    ("BadRequest.IllegalInput", "requires json format.", UpstreamFailed, False),
    ("BadRequest.TooLarge", "Payload Too Large.", RequestTooLarge, False),
    ("BadRequest.TooLarge", "Exceeded limit on max bytes : 6291456", RequestTooLarge, False),
    (
        "InvalidParameter",
        "Exceeded limit on max bytes to request body : 6291456",
        RequestTooLarge,
        False,
    ),
    (
        "InvalidParameter",
        "Exceeded limit on max bytes per data-uri item : 10485760'.",
        InvalidImage,
        False,
    ),
    ("InvalidParameter", "Multimodal file size is too large", InvalidImage, False),
    ("UnsupportedOperation", "Failed to cancel the task.", UpstreamFailed, False),
    ("ClientDisconnect", "Client disconnected before task finished!", UpstreamFailed, True),
    ("Conflict", "Model instance xxx already exists.", UpstreamFailed, True),
]
IMAGE_INPUT: list[Row] = [
    ("InvalidParameter", "Image dimensions must be in [384, 5000]", InvalidImage, False),
    ("InvalidParameter", "image format error", InvalidImage, False),
    ("InvalidParameter", "Invalid image format or corrupted file", InvalidImage, False),
    ("InvalidParameter", "read image error.", InvalidImage, False),
    ("InvalidParameter", "the size of input image is too small.", InvalidImage, False),
    ("InvalidParameter", "Failed to decode the image during the data.", InvalidImage, False),
    ("InvalidParameter", "The image length and width do not meet.", InvalidImage, False),
    ("InvalidParameter", "The image size is not supported for the.", InvalidImage, False),
    ("InvalidParameter", "The file format is illegal and cannot.", InvalidImage, False),
    ("InvalidParameter", "The media format is not supported or.", InvalidImage, False),
    ("InvalidParameter", "download image failed", InvalidImage, False),
    ("InvalidParameter", "oss download error.", InvalidImage, False),
    ("InvalidParameter", "Failed to download input files.", InvalidImage, False),
    ("InvalidParameter", "Failed to download multimodal content.", InvalidImage, False),
    ("InvalidParameter", "Download the media resource timed out.", InvalidImage, False),
    ("InvalidParameter", "Unable to download the media resource.", InvalidImage, False),
    ("InvalidParameter", "Don't have authorization to access the media.", InvalidImage, False),
    ("InvalidParameter", "The provided URL does not appear to be valid.", InvalidImage, False),
    (
        "invalid_parameter_error",
        "<400> InternalError.Algo.InvalidParameter: The provided URL does not appear to be valid.",
        InvalidImage,
        False,
    ),
    ("InvalidParameter", "Wrong Content-Type of multimodal url", InvalidImage, False),
    ("InternalError.Algo", "Missing Content-Length of multimodal url.", InvalidImage, False),
    (
        "InvalidParameter.DataInspection",
        "Unable to download the media resource.",
        InvalidImage,
        False,
    ),
    (
        "InvalidParameter.DataInspection",
        "The media format is not supported.",
        InvalidImage,
        False,
    ),
    ("InvalidParameter.DataInspection", "Any other text.", InvalidImage, False),
    ("InvalidURL", "Invalid URL provided in your request.", InvalidImage, False),
    ("InvalidURL.ConnectionRefused", "Connection to xxx refused.", InvalidImage, False),
    ("InvalidURL.Timeout", "Download xxx timeout.", InvalidImage, False),
    ("BadRequest.InputDownloadFailed", "Failed to download the input.", InvalidImage, False),
    ("BadRequest.UnsupportedFileFormat", "File format unsupported.", InvalidImage, False),
    ("InvalidImageFormat", "The input image is in invalid format.", InvalidImage, False),
    ("InvalidImage.FileFormat", "Invalid image type.", InvalidImage, False),
    ("InvalidImageResolution", "The input image resolution is too large.", InvalidImage, False),
    ("InvalidImage.ImageSize", "The size of image is beyond limit.", InvalidImage, False),
    ("InvalidFile.ImageSize", "The size of image is beyond limit.", InvalidImage, False),
    ("InvalidFile.Size", "Invalid file size.", InvalidImage, False),
    ("InvalidFile.Format", "Invalid file format.", InvalidImage, False),
    ("InvalidFile.Openerror", "Invalid file, cannot open.", InvalidImage, False),
    ("InvalidFile.AspectRatio", "Invalid file.", InvalidImage, False),
    ("InvalidFile.Resolution", "Invalid file.", InvalidImage, False),
    (
        "InvalidParameter",
        "The size is not match the allowed size ['1024*1024']",
        InvalidRequest,
        False,
    ),
]
CONTENT: list[Row] = [
    ("DataInspectionFailed", "Input data may contain inappropriate.", ContentRefused, False),
    ("DataInspectionFailed", "Output data may contain inappropriate.", ContentRefused, False),
    ("data_inspection_failed", "Input xxx data may contain.", ContentRefused, False),
    ("IPInfringementSuspect", "Input data is suspected of.", ContentRefused, False),
    (
        "InvalidParameter",
        "The image content does not comply with green network verification.",
        ContentRefused,
        False,
    ),
    ("CustomRoleBlocked", "Input or output data with custom rule.", ContentRefused, False),
    ("FaqRuleBlocked", "Input or output data is blocked by faq rule.", ContentRefused, False),
]
THROTTLING: list[Row] = [
    ("Throttling", "Requests throttling triggered.", Throttled, True),
    ("Throttling", "Too many requests in route. Please try again later.", Throttled, True),
    ("Throttling.RateQuota", "Requests rate limit exceeded.", Throttled, True),
    ("LimitRequests", "You have exceeded your request limit.", Throttled, True),
    ("limit_requests", "You exceeded your current requests list.", Throttled, True),
    ("Throttling.BurstRate", "Request rate increased too quickly.", Throttled, True),
    ("limit_burst_rate", "Request rate increased too quickly.", Throttled, True),
    ("Throttling.AllocationQuota", "Allocated quota exceeded, please.", Throttled, True),
    ("insufficient_quota", "You exceeded your current quota.", Throttled, True),
    (
        "Throttling.AllocationQuota",
        "Free allocated quota exceeded.",
        UpstreamUnavailable,
        False,
    ),
    ("insufficient_quota", "Free allocated quota exceeded.", UpstreamUnavailable, False),
]
SERVER_SIDE: list[Row] = [
    ("InternalError", INTERNAL, UpstreamFailed, True),
    ("internal_error", "Internal server error!", UpstreamFailed, True),
    ("InternalError.Algo", "inference internal error.", UpstreamFailed, True),
    ("InternalError.Timeout", "An internal timeout error has occured.", UpstreamFailed, True),
    ("InternalError.Upload", "Failed to upload result.", UpstreamFailed, True),
    ("InternalError.FileUpload", "oss upload error.", UpstreamFailed, True),
    ("SystemError", "An system error has occured.", UpstreamFailed, True),
    ("ModelServiceFailed", "Failed to request model service.", UpstreamFailed, True),
    ("RequestTimeOut", "Response timeout!", UpstreamFailed, True),
    ("RewriteFailed", "Failed to rewrite content for prompt.", UpstreamFailed, True),
    ("ModelServingError", "Too many requests.", UpstreamFailed, True),
    ("ModelUnavailable", "Model is unavailable.", UpstreamFailed, True),
    ("ServiceUnavailable", "Service temporarily unavailable.", UpstreamFailed, True),
    ("GatewayTimeout", "", UpstreamFailed, True),
    ("SomethingNew", "What nobody has documented.", UpstreamFailed, True),
    ("", "", UpstreamFailed, True),
]
ROWS = [
    *KEY_RIGHTS_ACCOUNT,
    *MODEL_ROUTE_FORM,
    *IMAGE_INPUT,
    *CONTENT,
    *THROTTLING,
    *SERVER_SIDE,
]


@pytest.mark.parametrize(
    ("code", "message", "kind", "retry"),
    [pytest.param(*row, id=f"{row[0]}: {row[1][:40]}") for row in ROWS],
)
def test_each_documented_code_has_its_place(
    code: str, message: str, kind: type[GatewayError], retry: bool
) -> None:
    """A documented code becomes one class, with the status, type, code and retry of product.md."""
    error = fault(code, message, request_id="r-1")

    assert type(error) is kind
    assert (error.status, error.type, error.code) == ENVELOPES[kind]
    assert error.retry is retry
    assert error.upstream_code == (code or None)
    assert error.upstream_request_id == "r-1"


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row[0]}: {row[1][:40]}") for row in ROWS if row[1]]
)
def test_a_suffix_changes_nothing(row: Row) -> None:
    """What newer gateways append to a message neither changes its place nor is shown."""
    code, message, kind, _ = row

    error = fault(code, f"{message} For details, see: https://help.aliyun.com/zh/model-studio")

    assert type(error) is kind
    assert "details" not in error.message


@pytest.mark.parametrize(
    ("code", "http_status", "kind", "retry"),
    [
        pytest.param("New", 401, UpstreamUnavailable, False, id="401"),
        pytest.param("New", 403, UpstreamUnavailable, False, id="403"),
        pytest.param("New", 413, RequestTooLarge, False, id="413"),
        pytest.param("New", 429, Throttled, True, id="429"),
        pytest.param("New", 400, UpstreamFailed, False, id="400: no task, the same again"),
        pytest.param("New", 500, UpstreamFailed, True, id="500"),
        pytest.param("New", None, UpstreamFailed, True, id="in a task"),
        pytest.param("Arrearage", 400, UpstreamUnavailable, False, id="a listed code wins"),
        pytest.param("CommodityNotPurchased", 429, UpstreamUnavailable, False, id="even at 429"),
    ],
)
def test_the_http_status_decides_only_for_an_unlisted_code(
    code: str, http_status: int | None, kind: type[GatewayError], retry: bool
) -> None:
    """Without a listed code the HTTP status tells a refused key, a throttle or a big body."""
    error = fault(code, "Whatever.", http_status=http_status)

    assert (type(error), error.retry) == (kind, retry)


def test_without_a_code_the_http_status_is_what_the_operator_sees() -> None:
    """An answer without a code is logged by its HTTP status."""
    error = fault("", "<html>bad gateway</html>", http_status=502)

    assert error.upstream_code == "HTTP 502"
    assert error.upstream_request_id is None


@pytest.mark.parametrize(
    ("message", "secret"),
    [
        pytest.param("No access for sk-ws-Canary_42, sorry", "Canary", id="key"),
        pytest.param("Refused Bearer Canary.abc", "Canary", id="bearer"),
        pytest.param("Cannot read https://a.b/c.png?Signature=Canary%3D", "Canary", id="query"),
        pytest.param("Cannot read https://a.b/c.png#Canary", "Canary", id="fragment"),
        pytest.param("Cannot read https://me:Canary@a.b/c.png", "Canary", id="password"),
        pytest.param("Cannot read data:image/png;base64,Canary", "Canary", id="data URI"),
        pytest.param("Owner LTAI5tCanary", "Canary", id="access key id"),
        pytest.param("x" * 1000 + "Canary", "Canary", id="endless"),
    ],
)
def test_no_secret_reaches_the_customer(message: str, secret: str) -> None:
    """Keys, signatures, passwords and data URIs are cut out of upstream's words."""
    for code in ("InvalidParameter", "InvalidURL", "InternalError", "New"):
        assert secret not in fault(code, message).message


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{row[0]}: {row[1][:40]}")
        for row in KEY_RIGHTS_ACCOUNT
        if row[2] is UpstreamUnavailable
    ],
)
def test_the_customer_reads_nothing_about_the_account(row: Row) -> None:
    """Upstream's words about key, rights and money stay inside."""
    code, message, _, _ = row

    error = fault(code, message)

    assert message.rstrip(".")[:20] not in error.message
    assert error.status >= 500


@pytest.mark.parametrize(
    ("message", "param"),
    [
        pytest.param("The size is not match the allowed size", "size", id="size"),
        pytest.param("num_images_per_prompt must be 1.", "n", id="n"),
        pytest.param("Image dimensions must be in [384, 5000]", "image", id="image"),
        pytest.param("Field required: xxx", None, id="unknown"),
    ],
)
def test_the_field_to_change_is_named_where_it_is_known(message: str, param: str | None) -> None:
    """A parameter error names OpenAI's field if the text singles it out."""
    assert fault("InvalidParameter", message).param == param


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param('{"message": "read image error"}', "read image error.", id="object"),
        pytest.param('{"error": {"message": "read image error"}}', "read image error.", id="inner"),
        pytest.param('{"error": "read image error"}', "read image error.", id="text inside"),
        pytest.param("{read image error", "{read image error.", id="only looks like JSON"),
        pytest.param('{"x": 1}', "InvalidURL.", id="without a message"),
        pytest.param("read\n image  error!", "read image error!", id="on one line"),
        pytest.param("", "InvalidURL.", id="nothing said: the code"),
    ],
)
def test_a_message_may_be_wrapped(message: str, shown: str) -> None:
    """A message inside a JSON string is unwrapped, and shown as one sentence."""
    assert fault("InvalidURL", message).message.endswith(f": {shown}")


def test_something_is_always_said() -> None:
    """With neither code nor message the customer still reads a sentence."""
    assert fault("", "").message == "The upstream failed: No reason was given."
