"""What the functions return: objects with frames inside and a card outside.

| type | returned by |
|---|---|
| `restate_lab.Plan` | `restate_lab.plan` and `restate_lab.move_to` |
| `restate_lab.Diagnosis` | `restate_lab.doctor` |
| `restate_lab.Explanation` | `restate_lab.why` |
| `restate_lab.Waits` | `restate_lab.waits` |
| `restate_lab.State` | `restate_lab.state` and `restate_lab.set_state` |
| `restate_lab.Comparison` | `restate_lab.compare` |
| `restate_lab.Evidence` | `restate_lab.open_evidence` |
| `restate_lab.AdminClient` | `lab.admin` of a `restate_lab.Lab` |
| `restate_lab.IngressClient` | `lab.ingress` of a `restate_lab.Lab` |

`restate_lab.Thresholds` has the limits that `restate_lab.doctor` judges by; `thresholds=` changes some of them.

The types are public for annotations and for `isinstance()`. They are not in the menu of `rl.<TAB>`:

    from restate_lab import Plan

    def confirm(plan: Plan) -> None: ...
"""
