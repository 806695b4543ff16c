"""Two pictures by requests: ``by_requests.py BASE_URL KEY PICTURE NAME PROMPT``."""

import sys
from pathlib import Path

import requests  # noqa: TID251 - the client that is tried

base_url, key, picture, name, prompt = sys.argv[1:]
content = Path(picture).read_bytes()
answer = requests.post(
    f"{base_url}/images/edits",
    headers={"Authorization": f"Bearer {key}"},
    data={"prompt": prompt},
    files=[(name.format(nth), ("photo.png", content)) for nth in range(2)],
    timeout=120,
)
print(answer.text)  # noqa: T201 - its answer
