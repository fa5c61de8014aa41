"""The hospital: one deployment from the front door to the bill, and three around it that come, change and go."""

from restate_lab.demo.services.hospital.admission import admission, insurance, registry
from restate_lab.demo.services.hospital.appointments import appointments
from restate_lab.demo.services.hospital.billing import billing
from restate_lab.demo.services.hospital.consent import consent
from restate_lab.demo.services.hospital.pharmacy import pharmacy
from restate_lab.demo.services.hospital.results import results
from restate_lab.demo.services.hospital.rounds import rounds
from restate_lab.demo.services.hospital.scanners import scanners
from restate_lab.demo.services.hospital.sequencer import sequencer
from restate_lab.demo.services.hospital.theatre import surgery, theatres
from restate_lab.demo.services.hospital.wards import wards

__all__ = ["HOSPITAL"]

HOSPITAL = (
    admission,
    appointments,
    billing,
    consent,
    insurance,
    pharmacy,
    registry,
    results,
    rounds,
    scanners,
    sequencer,
    surgery,
    theatres,
    wards,
)
