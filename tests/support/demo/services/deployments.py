"""The deployments of the tests' stories, in addition to those of the demo: ``python deployments.py --fd N``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))  # the folder of `support`, if this is a program

from restate_lab.demo.services import deployments as demo
from restate_lab.demo.services_host import Deployments, application, serve_inherited
from support.demo.services.hospital import HOSPITAL
from support.demo.services.hospital.discharge import discharge_1, discharge_2
from support.demo.services.hospital.porters import porters
from support.demo.services.hospital.wholesale import wholesale

DEPLOYMENTS: Deployments = {
    **demo.DEPLOYMENTS,
    ("hospital", "1"): HOSPITAL,
    ("wholesale", "1"): (wholesale,),
    ("porters", "1"): (porters,),
    ("discharge", "1"): (discharge_1,),
    ("discharge", "2"): (discharge_2,),
}
UNAVAILABLE = {**demo.UNAVAILABLE, "wholesale": (504, b"upstream request timeout")}


if __name__ == "__main__":
    serve_inherited(application(DEPLOYMENTS, UNAVAILABLE))
