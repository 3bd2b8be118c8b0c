"""With ContentSafety an unsafe picture is rejected and shown to nobody. The stand-in flags what a test has marked."""

from __future__ import annotations

from local.rekognition.detect_moderation_labels import MODEL_VERSION

from .application import HttpApplication
from .gallery import Gallery
from .pictures import new_cat


def test_an_unsafe_picture_is_rejected_and_a_safe_one_says_who_judged_it(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    with application.unsafe_content_rejected():
        marked = new_cat() + b"moderation-stub:[Violence]"
        unsafe_id = application.client.upload("unsafe.jpg", "image/jpeg", marked)
        safe_id = application.client.upload("safe.jpg", "image/jpeg", new_cat())
        unsafe, safe = (application.finished_image(image_id) for image_id in (unsafe_id, safe_id))

    assert (unsafe["status"], unsafe["reasonCode"]) == ("rejected", "UNSAFE_CONTENT")
    assert "Violence" in unsafe["reason"]
    assert "viewUrl" not in unsafe
    assert [key for key, _ in application.objects(f"rejected/{unsafe_id}")] == [f"rejected/{unsafe_id}.jpg"]
    assert application.notices(unsafe_id) == []
    assert (safe["status"], application.item(safe_id)["ModerationVersion"]) == ("completed", {"S": MODEL_VERSION})
