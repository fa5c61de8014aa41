"""A second incident: a hospital on a bad night, with other names, numbers and proportions than the order system.

Code that finds the faults of the order system by their names does not find these. One fault dominates the others,
causes lie behind other causes, keys and messages have characters that break careless code, and most of the work is
fine. The tables state which roles are faults and describe each planted fault; ``steps.ids`` lists the invocations of
each role. Everything stays as it is for hours, and retries continue.
"""

from __future__ import annotations

from types import MappingProxyType

from restate_lab.demo.stories.steps import Act, Child, Deploy, Remove, Send, StoryStep, repeat

Part = tuple[StoryStep, ...]

FAULTS = MappingProxyType(
    {
        "unacknowledged": "sixty findings in the step “Befund übermitteln”: the tablespace of the receiver is full",
        "ward_circle": "four wards that hold their keys, each waiting for the next",
        "theatre_planned": "holds a theatre and waits for an operation that wants the same theatre",
        "theatre_surgery": "that operation, a workflow: the other half of the deadlock",
        "wholesale_down": "retrying on a deployment whose proxy answers 504; a hot key waits behind one of them",
        "register_closed": "paused after four attempts, five callers below the front desk: the register is closed",
        "technician": "holds a scanner and waits for an awakeable that nobody resolves",
        "consent_unsigned": "a workflow whose promise nobody completes, while a ward keeps a bed for it",
        "reordered": "has a journal whose steps the code, replaced below it, does in another order (RT0016)",
        "porter_fetch": "retrying on a deployment that was removed (RT0011)",
        "porter_back": "the same in another handler",
        "porter_asleep": "asleep and bound to the removed deployment: fails when it wakes",
        "insurer_silent": "paused after four attempts: an insurer does not answer",
        "insurer_refused": "paused after four attempts: an insurer does not know the contract",
        "rate_missing": "paused after four attempts by a bug of our own: a code without a rate",
        "card_expired": "failed for good: cards that have expired",
        "card_blocked": "failed for good: cards that are blocked, told from those by one word",
    }
)
"""Role → the planted fault: every cause that a person on call must learn about."""

VICTIMS = MappingProxyType(
    {
        "blood_reader": "doctors who wait for a finding that is not acknowledged",
        "ward_circle_blocked": "the calls that the four wards wait for",
        "ward_circle_queue": "patients who stand in a ward's queue before the call that its circle waits for",
        "theatre_blocked": "the call that the operation waits for",
        "shelf_holder": "holds a shelf of the pharmacy until the wholesaler has answered",
        "shelf_queue": "the queue behind the holder of the shelf",
        "shelf_caller": "doctors who wait for a place in that queue",
        "admission": "five callers, one below the other, that wait for the register",
        "scanner_queue": "the queue behind the technician",
        "bed_holder": "holds a ward until the consent is signed",
        "bed_question": "its call to the consent, waiting for the same promise",
        "bed_queue": "the queue behind the holder of the ward",
    }
)
"""Role → how a fault affects it: not a cause, but correctly named together with one."""

NOTES = MappingProxyType(
    {
        "sequencing": "runs one step for days, as it is meant to",
        "wrong_number": "failed once, for one patient: a typing error",
        "recovered": "failed at the first attempt and succeeded with the second",
        "follow_up": "waits for a call that sleeps for a quarter",
    }
)
"""Role → a detail worth knowing that is not wrong. A role that is in none of the tables is everyday work."""

# A slash, quotes, wildcards of LIKE, a letter outside ASCII, a character outside the basic plane.
WARDS = ("Intensiv/Süd", '"3 West"', "🫀 Kardio", "100%_Nord")
SHELF = 'Haus B/"5%_Glukose" 500 ml'
# With "%" and "_" as wildcards, this pattern also matches the other shelf.
SHELF_ALIKE = 'Haus B/"55 Glukose" 500 ml'
SCANNER = "O'Neill-MRT/2"
PATIENT = "Çelik, Zoë <0042>"
NEUROLOGY = "Neuro & Stroke #1?"


def _finding(number: int, house: str) -> dict[str, str | int]:
    return {"order": f"LAB{number}/{number % 9}", "case": 4_400_000 + number, "house": house}


def _book(role: str, number: int, phone: str, reaches: str = "succeeded") -> Send:
    return Send(role, "Appointments/arrange", {"patient": f"P-{number}", "phone": phone}, reaches)


def _settle(role: str, case: int, insurer: str, code: str = "K01", reaches: str = "paused") -> Send:
    return Send(role, "Billing/settle", {"case": case, "insurer": insurer, "code": code}, reaches)


def _pay(role: str, case: int, card: str, reaches: str = "failed") -> Send:
    return Send(role, "Billing/charge_co_payment", {"case": case, "card": card}, reaches)


DEPLOYMENTS: Part = (
    Deploy("hospital_deployment", "hospital"),
    Deploy("wholesale_deployment", "wholesale"),
    Deploy("porters_deployment", "porters"),
    Deploy("discharge_deployment", "discharge"),
)

CIRCLE: Part = (
    *repeat(
        4,
        lambda n: Send(
            f"ward_circle_{n}",
            f"Ward/{WARDS[n - 1]}/hand_over",
            {"patient": PATIENT, "to": WARDS[n % 4]},
            "suspended",
        ),
    ),
    *repeat(3, lambda n: Send(f"ward_circle_queue_{n}", f"Ward/{WARDS[1]}/take_over", f"P-{6050 + n}", "pending")),
)
# They are called when the things are packed, three seconds later.
CIRCLE_BLOCKED: Part = repeat(4, lambda n: Child(f"ward_circle_blocked_{n}", f"ward_circle_{n}", "pending"))

THEATRE: Part = (
    Send("theatre_planned", "operating-theatre/OP 1/plan", "case 77/B", "suspended"),
    Child("theatre_surgery", "theatre_planned", "suspended"),
    Child("theatre_blocked", "theatre_surgery", "pending"),
)

FLOOD: Part = (
    *repeat(
        56,
        lambda n: Send(
            f"unacknowledged_{n}", "lab.Results/publish", _finding(70_000 + 37 * n, "HAUS-A"), "backing-off"
        ),
    ),
    *repeat(
        4,
        lambda n: Send(f"blood_reader_{n}", "Rounds/look_at_blood", _finding(80_000 + 41 * n, "HAUS-A"), "suspended"),
    ),
    *repeat(4, lambda n: Child(f"unacknowledged_{56 + n}", f"blood_reader_{n}", "backing-off", "RT0007")),
)

SHELVES: Part = (
    Send("shelf_holder", f"Pharmacy/{SHELF}/reorder", 900, "suspended"),
    Child("wholesale_down_1", "shelf_holder", "backing-off", "RT0010"),
    Send("wholesale_down_2", "wholesale.Orders/order", "20 x Morphin", "backing-off", fails_with="RT0010"),
    Send("wholesale_down_3", "wholesale.Orders/order", "7 x Heparin", "backing-off", fails_with="RT0010"),
    *repeat(34, lambda n: Send(f"shelf_queue_{n}", f"Pharmacy/{SHELF}/dispense", n % 3 + 1, "pending")),
    *repeat(
        6, lambda n: Send(f"shelf_caller_{n}", "Rounds/medicate", {"drug": SHELF, "packages": n % 2 + 1}, "suspended")
    ),
    *repeat(6, lambda n: Child(f"shelf_queue_{34 + n}", f"shelf_caller_{n}", "pending")),
)

CHAIN: Part = (
    Send("admission_1", "Admission/arrive", "CV-5512-77", "suspended"),
    *(Child(f"admission_{n}", f"admission_{n - 1}", "suspended") for n in range(2, 6)),
    Child("register_closed", "admission_5", "paused"),
)

SCANNERS: Part = (
    Send("technician", f"scanner_pool/{SCANNER}/calibrate", "drift of 0.3 mm", "suspended"),
    *repeat(9, lambda n: Send(f"scanner_queue_{n}", f"scanner_pool/{SCANNER}/scan", f"P-{6100 + n}", "pending")),
)

CONSENT: Part = (
    Send("consent_unsigned", f"Consent/{PATIENT}/explain", "hip", "suspended"),
    Send("bed_holder", f"Ward/{NEUROLOGY}/reserve_bed", PATIENT, "suspended"),
    Child("bed_question", "bed_holder", "suspended"),
    *repeat(5, lambda n: Send(f"bed_queue_{n}", f"Ward/{NEUROLOGY}/take_over", f"P-{6200 + n}", "pending")),
)

DISCHARGE: Part = repeat(
    5, lambda n: Send(f"reordered_{n}", "Discharge/let_go", f"P-{6300 + n}", "backing-off", fails_with="RT0016")
)
REPLACE: Part = (Deploy("discharge_deployment", "discharge", release="2", after={"reordered": "backing-off"}),)

PORTERS: Part = (
    *repeat(
        4, lambda n: Send(f"porter_fetch_{n}", "Porters/fetch", f"P-{6400 + n}", "backing-off", fails_with="RT0011")
    ),
    *repeat(
        2, lambda n: Send(f"porter_back_{n}", "Porters/bring_back", f"P-{6450 + n}", "backing-off", fails_with="RT0011")
    ),
    Send("porter_asleep", "Porters/tidy_up", "HAUS-C", "suspended"),
)
REMOVE: Part = (
    Remove(
        "porters_deployment",
        after={"porter_fetch": "backing-off", "porter_back": "backing-off", "porter_asleep": "suspended"},
    ),
)

BILLS: Part = (
    *repeat(5, lambda n: _settle(f"insurer_silent_{n}", 4_500_000 + 113 * n, "saúde-norte")),
    *repeat(2, lambda n: _settle(f"insurer_refused_{n}", 4_600_000 + 71 * n, "anadolu", "K17")),
    _settle("rate_missing", 4_700_003, "barmenia", "K99"),
    *repeat(14, lambda n: _pay(f"card_expired_{n}", 4_800_000 + 29 * n, f"4000 {n:04} 0001")),
    *repeat(6, lambda n: _pay(f"card_blocked_{n}", 4_900_000 + 53 * n, f"5200 {n:04} 0002")),
)

EVERYDAY: Part = (
    *repeat(40, lambda n: _book(f"booked_{n}", 7000 + n, f"+49 30 {5550 + n}")),
    *repeat(8, lambda n: _book(f"recovered_{n}", 7100 + n, f"+48 22 {5550 + n}")),
    *repeat(12, lambda n: Send(f"remind_{n}", "Appointments/remind", f"P-{7200 + n}", "suspended")),
    *repeat(2, lambda n: Send(f"follow_up_{n}", "Appointments/follow_up", f"P-{7300 + n}", "suspended")),
    *repeat(6, lambda n: Send(f"tomorrow_{n}", "Appointments/remind", f"P-{7400 + n}", "scheduled", delay=f"{n}day")),
    *repeat(20, lambda n: Send(f"published_{n}", "lab.Results/publish", _finding(90_000 + n, "HAUS-C"), "succeeded")),
    *repeat(9, lambda n: Send(f"shelf_alike_{n}", f"Pharmacy/{SHELF_ALIKE}/dispense", n, "succeeded")),
    *repeat(7, lambda n: Send(f"scanned_{n}", "scanner_pool/CT_1/scan", f"P-{7500 + n}", "succeeded")),
    *repeat(10, lambda n: _settle(f"settled_{n}", 4_100_000 + n, "barmenia", reaches="succeeded")),
    *repeat(10, lambda n: _pay(f"paid_{n}", 4_200_000 + n, f"4000 {n:04} 0009", "succeeded")),
    *repeat(3, lambda n: Send(f"admitted_{n}", "Admission/arrive", f"DE-99{n}", "succeeded")),
    Send("consent_signed", "Consent/Ωmega, Ana/explain", "knee", "succeeded"),
    Send("signature", "Consent/Ωmega, Ana/sign", "Ana Ωmega", "succeeded"),
    Send("changed_mind", "Appointments/remind", "P-7601", "suspended"),
    Send("sequencing", "Sequencer/sequence", 3_100_000_000, "running"),
    _book("wrong_number", 7602, "o30 5559", "failed"),
)
CHANGED_MIND: Part = (Act("changed_mind", "cancel", "changed_mind", {"changed_mind": "suspended"}, "cancelled"),)

HOSPITAL: Part = (
    # First everything that takes time, then the invocations that wait for it.
    *(*DEPLOYMENTS, *CIRCLE, *FLOOD, *DISCHARGE, *PORTERS, *BILLS, *SCANNERS, *CONSENT, *THEATRE, *SHELVES, *CHAIN),
    *(*EVERYDAY, *CIRCLE_BLOCKED, *REPLACE, *REMOVE, *CHANGED_MIND),
)
