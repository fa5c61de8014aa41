"""The name that each front end shows for a cluster, with the CLI's files and a real server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.errors import SettingsError
from support.clusters import Cluster
from support.shell import shell

pytestmark = pytest.mark.server

ELSEWHERE = "http://127.0.0.1:9"


@pytest.fixture
def newest_and_prod(newest: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Give a cluster that RESTATE_ADMIN_URL points to; [prod] is at another address, [same] at this one."""
    (tmp_path / "config.toml").write_text(
        f'[prod]\nadmin_base_url = "{ELSEWHERE}"\n[same]\nadmin_base_url = "{newest.admin_url}"\n'
    )
    for variable in ("RESTATE_ENVIRONMENT", "RESTATE_HOST", "RESTATE_INGRESS_URL", "RESTATE_AUTH_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RESTATE_CLI_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path / "audit"))
    monkeypatch.setenv("RESTATE_ADMIN_URL", newest.admin_url)
    return newest


UNKNOWN = "Unknown environment 'prodd':"
CONFLICT = "{url}, which is not the address of the environment 'prod' that you named. Unset it, or connect"


@pytest.mark.parametrize(("name", "said"), [("prodd", UNKNOWN), ("prod", CONFLICT)])
def test_a_name_that_cannot_be_used_is_the_same_error_everywhere(
    newest_and_prod: Cluster, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    said = said.format(url=newest_and_prod.admin_url)
    with pytest.raises(SettingsError) as caught:
        rl.connect(name)
    assert said in str(caught.value)
    with shell(capsys) as ip:
        ip.run("%load_ext restate_lab")
        cell = ip.run(f"%restate connect {name}")
        assert isinstance(cell.error, SettingsError)
        assert said in cell.shown
    done = CliRunner().invoke(app, ["doctor", "-e", name])
    assert done.exit_code != 0
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["same", ""])
def test_every_label_names_the_cluster(
    newest_and_prod: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    label = name or newest_and_prod.admin_url.removeprefix("http://")
    with rl.connect(*filter(None, [name])) as lab:
        assert (lab.name, lab.settings.admin_url) == (label, newest_and_prod.admin_url)
        assert f">{label}<" in lab._repr_html_()
        plan = rl.plan(lab, "purge", [newest_and_prod.roles["agent_denver"]])
        assert label in plan._repr_html_()
        assert label in rl.doctor(lab)._repr_html_()
        assert label in rl.Report("a report", source=lab).write(tmp_path / "a.html").read_text()
        with lab.transport.record("a test", [], reason="a test", request="nothing"):
            pass
        assert list(rl.audit_log()["environment"]) == [label]
        with contextlib.closing(rl.Panel(lab, refresh=None)) as panel:
            assert panel.head.heading == label
    with shell(capsys) as ip:
        ip.run("%load_ext restate_lab")
        shown = ip.run(f"lab = %restate connect {name}\nprint(lab)\nlab.close()").shown
        assert f"<Lab {label} at {newest_and_prod.admin_url}" in shown
    done = CliRunner().invoke(app, ["doctor", *(["-e", name] if name else [])])
    assert done.stdout.splitlines()[1].startswith(f"{label}, restate ")
