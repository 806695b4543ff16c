from tests.fixtures import anyio_backend, no_proxy

__all__ = ["anyio_backend", "no_proxy"]
