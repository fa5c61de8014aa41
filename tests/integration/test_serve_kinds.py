"""The pages of ``restate-lab serve`` of each kind of server: SQL and statuses differ, and the pages do not."""

from __future__ import annotations

from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.serve.pages import PAGES
from support.clusters import PLAIN, Cluster
from support.page_servers import running_pages

pytestmark = pytest.mark.server


@pytest.mark.also_on(PLAIN, reason="each kind has other tables, and statements choose their parts by them")
def test_each_page_is_read_completely(incident: Cluster, tmp_path: Path) -> None:
    """No part of a page is missing, and the list has the invocations that are retried.

    Only a server with vqueues has queues to show; elsewhere, their page says so.
    """
    one = incident.ids("storm_503")[0]
    paths = {name: f"/{name}" for name in PAGES} | {
        "": "/?since=24h",
        "invocation": f"/invocation/{one}",
        "story": f"/story/{one}?search=yes",
        "contrast": "/contrast?service=Settlements",
        "question": "/question/retry_storm",
        "report": "/report?length=short",
    }
    with (
        rl.connect(incident.admin_url, read_only=True) as lab,
        running_pages({"prod": lab}, tmp_path) as pages,
        pages.client() as client,
    ):
        found = {name: client.get(path) for name, path in paths.items()}
        listed = client.get("/invocations.json?status=retrying&service=Payments&group=no").json()["rows"]
    for name, page in found.items():
        assert page.status_code == 200, (name, page.text[-2_000:])
        is_missing = name == "queues" and not incident.vqueues
        assert ("Not read" in page.text) is is_missing, (name, page.text.partition("Not read")[2][:300])
    assert one in {row["id"] for row in listed}
