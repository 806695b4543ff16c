from tests.fixtures import anyio_backend, no_proxy, shared_gateway

__all__ = ["anyio_backend", "no_proxy", "shared_gateway"]
