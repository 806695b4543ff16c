"""The process of the simulated DashScope: two regions whose books outlive every gateway."""

import argparse
import asyncio
import sys

from gateway.sandbox import (
    AccountLimits,
    SandboxConfig,
    Uniform,
    bind,
    create_sandbox,
    serve_sandboxes,
)
from tests.chaos.wishes import ON_SHARED_ACCOUNT, REGION_BY_TENANT

LIMITS = AccountLimits(submits_per_second=30, running_tasks=12, task_calls_per_second=100)
TASK_SECONDS = Uniform(1.0, 6.0)
_PICTURE_BYTES = 120_000


REGIONS = tuple(dict.fromkeys(REGION_BY_TENANT.values()))


def account_of(tenant: str) -> str:
    """Return the account that pays for *tenant*."""
    return "shared" if tenant == ON_SHARED_ACCOUNT else REGION_BY_TENANT[tenant]


def upstream_keys(account: str) -> tuple[str, str]:
    """Return the keys of an account: any of them may ask for its tasks."""
    return f"sk-chaos-{account}", f"sk-chaos-{account}-other"


def main(argv: list[str]) -> int:
    """Print the URL of each region, one a line, then serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args(argv).seed
    places = []
    for region in REGIONS:
        accounts = {account_of(t) for t, where in REGION_BY_TENANT.items() if where == region}
        sandbox = SandboxConfig(
            region=region,
            accounts={account: upstream_keys(account) for account in sorted(accounts)},
            latency=TASK_SECONDS,
            limits=LIMITS,
            picture="plain",
            plain_bytes=_PICTURE_BYTES,
            seed=seed,
        )
        listener = bind()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}")  # noqa: T201 - read by our parent
        places.append((create_sandbox(sandbox), listener))
    sys.stdout.flush()
    asyncio.run(serve_sandboxes(places))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
