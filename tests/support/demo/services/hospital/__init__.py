"""The hospital: one deployment from the front door to the bill, and three others that come, change and go."""

from support.demo.services.hospital.admission import admission, insurance, registry
from support.demo.services.hospital.appointments import appointments
from support.demo.services.hospital.billing import billing
from support.demo.services.hospital.consent import consent
from support.demo.services.hospital.pharmacy import pharmacy
from support.demo.services.hospital.results import results
from support.demo.services.hospital.rounds import rounds
from support.demo.services.hospital.scanners import scanners
from support.demo.services.hospital.sequencer import sequencer
from support.demo.services.hospital.theatre import surgery, theatres
from support.demo.services.hospital.wards import wards

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
