"""One deployment, and one round of images on their way through it, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.engine import Engine

from .application import HttpApplication
from .gallery import Gallery


@pytest.fixture(scope="session")
def application(deployed_application: Engine) -> HttpApplication:
    """The deployed application, and someone who listens to its notices."""
    application = HttpApplication(deployed_application)
    application.listen()
    return application


@pytest.fixture(scope="session")
def gallery(application: HttpApplication) -> Iterator[Gallery]:
    """Pictures of every kind, all on their way at once; asking for one waits for its end."""
    images = Gallery(application)
    yield images
    images.close()


@pytest.fixture
def quiet_gallery(gallery: Gallery, application: HttpApplication) -> Gallery:
    """The same, when all are at their ends: for tests that change what every image meets."""
    gallery.settle()
    application.memory_peaks()  # such a test may end the processes that met the hostile pictures
    return gallery
