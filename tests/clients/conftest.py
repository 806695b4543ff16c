from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.fixtures import anyio_backend, no_proxy, shared_gateway
from tests.harness import ThreadedHarness, photo
from tests.nginx import nginx
from tests.programs import cannot, found

__all__ = ["anyio_backend", "no_proxy", "shared_gateway"]


@pytest.fixture(scope="package")
def nginx_url(
    shared_gateway: ThreadedHarness, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the URL of an nginx in front of it that keeps connections open and passes Upgrade."""
    if found("nginx") is None:
        cannot("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    with nginx(folder, shared_gateway.url, waits=60, websockets="offered") as proxy:
        yield proxy.url


@pytest.fixture(params=["direct", "nginx"])
def url(request: pytest.FixtureRequest, shared_gateway: ThreadedHarness) -> str:
    """Return the URL of the shared gateway itself, or of nginx in front of it."""
    address: str = (
        request.getfixturevalue("nginx_url") if request.param == "nginx" else shared_gateway.url
    )
    return address


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    file.write_bytes(photo())
    return file


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A mask that lets the right half of the photograph be edited."""
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (200, 0, 400, 400))
    image.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"
