"""The price of an image, line by line, from the workflow, the templates and the price file.

What the files cannot know (how long a function runs, how large a record is) stands here as named assumptions. Not in
it: taxes, free tiers, and data that leaves AWS (people who look at pictures).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ops import cold_storage, definitions
from ops.definitions import CERTAIN, UNCERTAIN
from pet_detector.aws import analyses
from pet_detector.rules.prices import prices

# Billed milliseconds of a warm call: what the call waits for (S3, Rekognition, DynamoDB), not what it computes. They
# count because a waiting function is paid for. ImageProcessor waits for Rekognition, half a second and more.
MILLISECONDS = {
    "ImageProcessorFunction": 900,
    "FileManagerFunction": 350,  # a picture of 2 MB read and written
    "NotificationServiceFunction": 120,
    "FailureRecorderFunction": 200,
    "UploadApiFunction": 65,
    "ImagesApiFunction": 45,
    "MetricsPublisherFunction": 100,
    "ReviewApiFunction": 80,
    "ReviewQueueFunction": 100,
}
# Of an image that waits for its turn: the call that finds out is as short as the next one is longer, which begins up to
# SLEEP_SECONDS before the turn. Together they last one call more.
WAITING_FUNCTION = "ImageProcessorFunction"
# Of a WebP, AVIF or HEIC picture: a decoder starts, decodes 12 megapixels and writes a JPEG of 4,096 px (about 1.5 s of
# one processor), between a read and a write of S3. Before it ImageProcessor only reads and judges the upload.
CONVERSION_MILLISECONDS, JUDGING_MILLISECONDS = 2_000, 150
# Of a picture that is asked about with ContentSafety: the second call of Rekognition, in the same run.
MODERATION_MILLISECONDS = 500
# RegisterImages, an image: a write and a copy within S3.
REGISTER_MILLISECONDS = 80
# Records that change within MaximumBatchingWindowInSeconds share a call. Announced, claimed and logged: 3 an image.
CHANGES_A_CALL, CHANGES = 20, 3

# Write units of 1 KB. A write pays for the table and for each index that it changes, for StatusIndex twice: the record
# leaves one partition and enters another. Records have under 1, 2 and 3 KB; Labels make the last one the largest.
ANNOUNCE = 1 * 4  # the table, ListingIndex, OwnerIndex, StatusIndex
CLAIM = 2 * 5  # the same, StatusIndex twice
LOG = 3 * 6  # and AnimalIndex
ANALYSIS = 4  # the lease, the turn, the newest model, the labels
COUNT = 1  # of the day, for each of DailyAnalysisLimit and DailyAnalysisLimitPerKey that is on
# Of a wait: a second attempt at the turn, the lease kept and taken up again, TurnAt in the record with three indexes.
WAIT = 1 + 2 + 2 * 4
NOTICE = 3 * 5 + 1  # remembered in the record, which all indexes hold; counted
# Of a verdict: the head and its two indexes when it is queued, leased (twice the index's partition), decided (with the
# row, in a transaction that costs double) and closed; the record claimed and written, which all its indexes hold.
VERDICT = (4 + 4 + 2 * 8 + 4) + (3 * 5 + LOG)
# Read units of 4 KB.
LOOKUP = 1
OWNER = 0.5  # of an API request: whose key it is, eventually consistent
REUSE = 0.5  # the newest model, eventually consistent; also when an image comes back from its wait
COUNTED = 1  # of the day, for each of the limits: whether it is reached

RECORD_KB = 3 * 5  # in the table and four indexes
ANALYSIS_KB = 1
ANALYSIS_MONTHS = analyses.KEPT_SECONDS / (30 * 24 * 3600)

LOOKUPS = 2  # GET /images/{id} that a client makes for one image
# 5 KB of the functions' lines and EMF documents (measured), Lambda's own lines of six calls, three of the access log.
LOG_KB = 9.0
WAIT_LOG_KB = 1.0  # one call more
S3_EVENTS = 3  # created under input/, created in its folder, deleted under input/: the bucket tells EventBridge of all
# Calls of the data's key (DataKey=customer) that S3 makes for an image: upload, two reads (ours, Rekognition's), the
# copy from and to, its check, a view. At most: a bucket key answers most of them.
KMS_CALLS = 7
TRACED = 0.10  # the sampling rules of stacks/dashboards.yaml; without it X-Ray takes 5 %

REVIEW_WORKFLOW = definitions.REPOSITORY / "statemachine" / "review.asl.yaml"
GOVERNANCE = definitions.REPOSITORY / "stacks" / "governance.yaml"
NETWORK = definitions.REPOSITORY / "stacks" / "network.yaml"
RECOVERY = definitions.REPOSITORY / "stacks" / "recovery.yaml"

# The trail. A line has about 1.5 KB; the trail's files in S3 are compressed, and cost a twentieth of it.
EVENT_KB = 1.5
RECORD_EVENTS = 3  # announced, claimed, logged

# A line of CloudFront's access log; two web ACLs judge each request.
ACCESS_LOG_KB, WEB_ACLS = 0.6, 2
# In a network (NetworkSubnets): what an image sends through interface endpoints, most of it Rekognition's answer, and
# lines of flow logs about its calls: of six functions two connections each, at both ends, in both directions, 0.15 KB.
ENDPOINT_KB, FLOW_KB = 12.0, 6 * 2 * 2 * 2 * 0.15

_KB, _MB = 1024**2, 1024  # in a GB


@dataclass(frozen=True)
class Load:
    """What a month brings. Shares are between 0 and 1; `retried` is the share of tasks that ran a second time.

    `analysed` is the share of images that Rekognition is asked about: all but rejected ones, and those whose bytes it
    has seen before. `waiting` is the share that waits for its turn, because more come than RekognitionCallsPerSecond;
    it waits once, however long. `converted` is the share of which a JPEG is made first. `registered` is the share that
    a backfill registered, so that no client called the API; `mapped` the share that its state machine did, and not
    petdetect.
    """

    images: int = 100_000
    megabytes: float = 2.0
    uncertain: float = 0.05
    analysed: float = 1.0
    waiting: float = 0.0
    converted: float = 0.0
    retried: float = 0.01
    registered: float = 0.0
    mapped: float = 0.0


@dataclass(frozen=True)
class Line:
    """One line of the bill, in US dollars an image. `how` is its arithmetic in words."""

    name: str
    per_image: float
    how: str


REKOGNITION, WORKFLOW, WORKFLOW_FUNCTIONS = "Rekognition", "Step Functions", "Lambda (workflow)"
CONTENT_SAFETY = "Content safety"
CONVERSION = "Conversion (WebP, AVIF, HEIC)"
REGISTRATION = "Registration (map, RegisterImages)"
STORAGE = ("S3 storage", "DynamoDB storage")


def bill(load: Load, parameters: Mapping[str, str]) -> list[Line]:
    """The lines of an image's price, dearest first. `parameters` are the template's.

    Storage is that of an image's whole life, which is a month's share too once as many images expire as arrive.
    """
    lines = [
        Line(REKOGNITION, load.analysed * prices()["rekognition_image"], f"DetectLabels for {load.analysed:.0%}"),
        _workflow(load),
        *_functions(load, parameters),
        *_requests(load, parameters),
        *_storage(load, parameters),
    ]
    lines.append(_reviews(load, parameters))
    if is_moderated(parameters):
        lines.append(_content_safety(load, parameters))
    if load.converted:
        lines.append(_conversion(load, parameters))
    if load.mapped:
        lines.append(_registration(load, parameters))
    if parameters.get("AuditTrail", "none") == "own":
        lines.append(_trail(load, parameters))
    if parameters.get("Edge", "none") != "none":
        count = (1 - load.registered) * (1 + LOOKUPS)
        lines.append(
            Line(
                "Edge", count * edge_request(), f"{count:g} requests by CloudFront, {WEB_ACLS} web ACLs, a line of log"
            )
        )
    if parameters.get("NetworkSubnets"):
        lines.append(_network_traffic())
    if parameters.get("Recovery") == "true":
        lines += _recovery(load, parameters)
    return sorted(lines, key=lambda line: -line.per_image)


def total(lines: list[Line]) -> float:
    """US dollars an image."""
    return sum(line.per_image for line in lines)


def line(lines: list[Line], name: str) -> float:
    """US dollars an image of one line."""
    return next(line.per_image for line in lines if line.name == name)


def storage(lines: list[Line]) -> float:
    """US dollars an image for being kept, with its record."""
    return sum(line.per_image for line in lines if line.name in STORAGE)


def orchestration(lines: list[Line]) -> float:
    """US dollars an image for being orchestrated: the workflow and its functions."""
    return sum(line.per_image for line in lines if line.name in (WORKFLOW, WORKFLOW_FUNCTIONS))


def _workflow(load: Load) -> Line:
    unit = prices()
    certain, uncertain = definitions.transitions(CERTAIN), definitions.transitions(UNCERTAIN)
    wait = len(definitions.states_of_a_wait())
    retries = load.retried * len(definitions.tasks(CERTAIN))
    count = certain + load.uncertain * (uncertain - certain) + load.waiting * wait + retries
    waits = f"{wait} more for {load.waiting:.0%} that wait, " if load.waiting else ""
    how = (
        f"{count:.2f} transitions: {certain}, {uncertain} for {load.uncertain:.0%}, {waits}"
        f"{load.retried:.0%} of tasks retried"
    )
    return Line(WORKFLOW, count * unit["states_standard_transition"], how)


def _reviews(load: Load, parameters: Mapping[str, str]) -> Line:
    """One verdict on each uncertain image, and on the sample of the certain ones: asked for, given, carried out."""
    unit = prices()
    share = load.uncertain + (1 - load.uncertain) * float(parameters["ReviewSamplePercent"]) / 100
    count = states_of_a_verdict()
    price = count * unit["states_standard_transition"] + call_price("FileManagerFunction", parameters)
    price += call_price("ReviewQueueFunction", parameters) + 2 * call_price("ReviewApiFunction", parameters)
    price += VERDICT * unit["dynamodb_write_unit"] + 4 * unit["dynamodb_read_unit"]
    price += (
        3 * unit["s3_put"] + 3 * unit["s3_get"] + 2 * unit["api_request"]
    )  # two lists and a copy; a view, two checks
    how = f"a verdict on {share:.1%}: {count} transitions, 4 calls of functions, {VERDICT} write units, 2 requests"
    return Line("Reviews", share * price, how)


def states_of_a_verdict() -> int:
    """The states that an execution of the review workflow enters when nothing comes between."""
    machine = definitions.document(REVIEW_WORKFLOW)
    name, count = machine["StartAt"], 1
    while name := machine["States"][name].get("Next"):
        count += 1
    return count


def is_moderated(parameters: Mapping[str, str]) -> bool:
    """Whether Rekognition is also asked if a picture is safe."""
    return parameters.get("ContentSafety") == "reject"


def _content_safety(load: Load, parameters: Mapping[str, str]) -> Line:
    """One more call of Rekognition for each analysed image, which ImageProcessor waits for, and its answer kept."""
    unit = prices()
    waiting = call_price("ImageProcessorFunction", parameters, MODERATION_MILLISECONDS) - unit["lambda_request"]
    price = load.analysed * (unit["rekognition_image"] + waiting + unit["dynamodb_write_unit"])
    return Line(CONTENT_SAFETY, price, f"DetectModerationLabels for {load.analysed:.0%}, and the wait for it")


def _conversion(load: Load, parameters: Mapping[str, str]) -> Line:
    """What a picture costs more that Rekognition cannot read: the way through Convert Image, and a second copy."""
    unit, count = prices(), len(definitions.states_of_a_conversion())
    price = count * unit["states_standard_transition"]
    price += call_price("ConvertImageFunction", parameters, CONVERSION_MILLISECONDS)
    price += call_price("ImageProcessorFunction", parameters, JUDGING_MILLISECONDS)
    is_kept = parameters.get("KeepOriginals") == "true"
    price += (1 + is_kept) * unit["s3_put"] + 4 * unit["s3_get"]
    if is_kept:
        price += cold_storage.price_of_keeping(load.megabytes, parameters)
    kept = "; the original is kept" if is_kept else ""
    how = f"{count} transitions, ConvertImage, ImageProcessor once more, for {load.converted:.0%}{kept}"
    return Line(CONVERSION, load.converted * price, how)


def _registration(load: Load, parameters: Mapping[str, str]) -> Line:
    """A batch is a child of the Distributed Map: its start, its states, a call of RegisterImages."""
    child, size = definitions.batches()
    unit = prices()
    count: float = 1 + len(definitions.states_on(definitions.REGISTERED, child))
    count += load.waiting * len(definitions.states_of_a_wait(child, definitions.WAIT_OF_A_BATCH))
    price = count * unit["states_standard_transition"]
    price += call_price("RegisterImagesFunction", parameters, REGISTER_MILLISECONDS * size)
    price += load.waiting * call_price("RegisterImagesFunction", parameters, REGISTER_MILLISECONDS)
    how = f"{count:.2f} transitions and a call for {size} images"
    return Line(REGISTRATION, load.mapped * price / size, how)


def call_price(function: str, parameters: Mapping[str, str], milliseconds: float | None = None) -> float:
    """US dollars for one call of a function."""
    seconds = (milliseconds or MILLISECONDS[function]) / 1000
    gigabyte_seconds = seconds * definitions.memory_megabytes(function) / _MB
    unit = prices()
    return unit["lambda_request"] + gigabyte_seconds * unit[f"lambda_gb_second_{parameters['Architecture']}"]


def _functions(load: Load, parameters: Mapping[str, str]) -> Iterator[Line]:
    always, when_uncertain = definitions.functions(CERTAIN), definitions.functions(UNCERTAIN)
    workflow = sum(call_price(name, parameters) for name in always)
    workflow += load.uncertain * sum(call_price(name, parameters) for name in when_uncertain if name not in always)
    workflow += load.waiting * call_price(WAITING_FUNCTION, parameters)
    names = ", ".join(name.removesuffix("Function") for name in when_uncertain)
    how = f"{names}; {parameters['Architecture']}, {load.retried:.0%} retried"
    yield Line(WORKFLOW_FUNCTIONS, workflow * (1 + load.retried), how)
    clients = 1 - load.registered
    api = clients * (
        call_price("UploadApiFunction", parameters) + LOOKUPS * call_price("ImagesApiFunction", parameters)
    )
    changes = CHANGES + load.waiting
    metrics = changes / CHANGES_A_CALL * call_price("MetricsPublisherFunction", parameters)
    how = f"{clients:g} upload, {clients * LOOKUPS:g} look-ups, {changes:g} changes at {CHANGES_A_CALL} a call"
    yield Line("Lambda (API, metrics)", api + metrics, how)


def _requests(load: Load, parameters: Mapping[str, str]) -> Iterator[Line]:
    unit = prices()
    clients = 1 - load.registered
    limits = (int(parameters["DailyAnalysisLimit"]) > 0) + (int(parameters["DailyAnalysisLimitPerKey"]) > 0) * clients
    writes = ANNOUNCE + CLAIM + LOG + load.analysed * (ANALYSIS + limits * COUNT)
    writes += load.uncertain * NOTICE + load.waiting * WAIT
    reads = clients * (LOOKUPS * LOOKUP + (1 + LOOKUPS) * OWNER)
    reads += load.analysed * (REUSE + limits * COUNTED) + load.waiting * REUSE
    dynamodb = writes * unit["dynamodb_write_unit"] + reads * unit["dynamodb_read_unit"]
    yield Line("DynamoDB requests", dynamodb, f"{writes:.1f} write units, {reads:.1f} read units, indexes included")
    gets = 4 + clients + load.waiting
    how = f"1 upload or copy in, 1 filed; {gets - clients:.3g} reads, {clients:g} views"
    yield Line("S3 requests", 2 * unit["s3_put"] + gets * unit["s3_get"], how)
    requests = clients * (1 + LOOKUPS)
    yield Line("API Gateway", requests * unit["api_request"], f"{clients:g} upload, {clients * LOOKUPS:g} look-ups")
    yield Line("EventBridge", S3_EVENTS * unit["eventbridge_s3_event"], f"{S3_EVENTS} events of the bucket")
    notice = unit["sns_publish"] + unit["sns_email"]
    yield Line("SNS", load.uncertain * notice, f"a notice by e-mail for {load.uncertain:.0%}")
    traces = 1 + clients * (1 + LOOKUPS)  # the execution; the upload
    if parameters["DataKey"] == "customer":
        how = f"at most {KMS_CALLS} calls, before the bucket key saves most of them"
        yield Line("KMS requests", KMS_CALLS * unit["kms_request"], how)
    yield Line("X-Ray", traces * TRACED * unit["xray_trace"], f"{TRACED:.0%} of {traces:g} traces")


def _trail(load: Load, parameters: Mapping[str, str]) -> Line:
    """Data events of the picture and of the record: billed as events, and as lines in CloudWatch Logs."""
    unit, clients = prices(), 1 - load.registered
    pictures = 3 + 3 + clients + load.waiting  # stored, copied, deleted; reads and views
    events = pictures + RECORD_EVENTS + clients * LOOKUPS + load.waiting + 2 * load.uncertain
    price = events * (unit["cloudtrail_data_event"] + trail_line())
    if parameters.get("GuardDuty") == "detector":
        price += pictures * unit["guardduty_s3_event"]
    return Line(
        "CloudTrail", price, f"{events:.3g} data events of {EVENT_KB:g} KB, {pictures:g} of them of the picture"
    )


def _network_traffic() -> Line:
    """Gateway endpoints, which take the pictures and records, cost nothing."""
    unit = prices()
    days = definitions.document(NETWORK)["Parameters"]["FlowLogRetentionDays"]["Default"]
    price = ENDPOINT_KB / _KB * unit["vpc_endpoint_gb"]
    price += FLOW_KB / _KB * (unit["logs_gb"] + int(days) / 30 * unit["logs_storage_gb_month"])
    return Line("Network", price, f"{ENDPOINT_KB:g} KB through endpoints, {FLOW_KB:.3g} KB of flow logs at most")


def _recovery(load: Load, parameters: Mapping[str, str]) -> Iterator[Line]:
    """Backups of picture and record as long as both are there, and their copies in a second region."""
    unit = prices()
    gigabytes, record = load.megabytes / _MB, RECORD_KB / 5 / _KB  # a backup leaves the indexes out
    kept = (int(parameters["ImageRetentionDays"]) + definitions.old_version_days()) / 30
    continuous = int(definitions.document(RECOVERY)["Parameters"]["ContinuousDays"]["Default"]) / 30
    days = int(parameters["BackupRetentionDays"])
    pictures = gigabytes * (kept + continuous) * unit["backup_s3_gb_month"]
    # Each day's backup of a table is a whole one.
    records = record * int(parameters["RecordRetentionDays"]) / 30 * days * unit["backup_dynamodb_gb_month"]
    how = f"{load.megabytes:g} MB for {kept + continuous:.1f} months, {days} daily backups of the record"
    yield Line("Backups", pictures + records, how)
    copied = 0.0
    if parameters.get("CopyBucketName"):
        per_gigabyte = unit["s3_to_second_region_gb"] + unit["s3_replication_time_gb"]
        copied += 2 * (gigabytes * per_gigabyte + unit["s3_put"])  # as it is uploaded, and as it is filed
        copied += gigabytes * (kept + 1) * unit["s3_storage_gb_month"]  # the upload's copy goes after a month
    if parameters.get("CopyVaultArn"):
        sent = record * int(parameters["RecordRetentionDays"]) * unit["s3_to_second_region_gb"]
        copied += records + sent
        if parameters.get("CopyTables") == "hourly":  # 24 a day in each vault, for a day
            copied += record * int(parameters["RecordRetentionDays"]) / 30 * 24 * 2 * unit["backup_dynamodb_gb_month"]
            copied += 24 * sent
    if copied:
        yield Line(
            "Second region",
            copied,
            "the picture twice over the network and once stored, each backup of the record that is copied",
        )


def trail_line() -> float:
    """US dollars for a line of the trail in CloudWatch Logs, as long as the stack keeps it."""
    days = definitions.document(GOVERNANCE)["Parameters"]["TrailLogRetentionDays"]["Default"]
    unit = prices()
    return EVENT_KB / _KB * (unit["logs_gb"] + int(days) / 30 * unit["logs_storage_gb_month"])


def _storage(load: Load, parameters: Mapping[str, str]) -> Iterator[Line]:
    unit = prices()
    months = (int(parameters["ImageRetentionDays"]) + definitions.old_version_days()) / 30
    how = f"{load.megabytes:g} MB for {months:.1f} months (ImageRetentionDays, then as an old version)"
    if cold := cold_storage.chosen(load.megabytes, parameters):
        how += f", after {parameters['ColdAfterDays']} days in {cold.name}; without looks at it there"
    yield Line("S3 storage", cold_storage.price_of_keeping(load.megabytes, parameters), how)
    months = int(parameters["RecordRetentionDays"]) / 30
    price = RECORD_KB / _KB * months * unit["dynamodb_storage_gb_month"]
    price += RECORD_KB / 5 / _KB * months * unit["dynamodb_pitr_gb_month"]  # the backup leaves the indexes out
    price += ANALYSIS_KB / _KB * ANALYSIS_MONTHS * unit["dynamodb_storage_gb_month"]
    yield Line("DynamoDB storage", price, f"{RECORD_KB} KB and backup for {months:.1f} months (RecordRetentionDays)")
    months = int(parameters["LogRetentionDays"]) / 30
    kilobytes = LOG_KB + load.waiting * WAIT_LOG_KB
    price = kilobytes / _KB * (unit["logs_gb"] + months * unit["logs_storage_gb_month"])
    yield Line("CloudWatch Logs", price, f"{kilobytes:g} KB of lines, kept {months:.1f} months (LogRetentionDays)")


def edge_request() -> float:
    """US dollars for a request that comes by the edge, without that of the API."""
    unit = prices()
    return unit["cloudfront_request"] + WEB_ACLS * unit["waf_request"] + ACCESS_LOG_KB / _KB * unit["logs_gb"]
