"""The actions that rules may name: a new one is a new file and one line here."""

from healer.actions.base import Action
from healer.actions.collect import Collect
from healer.actions.cordon import Cordon
from healer.actions.evict import Evict
from healer.actions.job import RunJob
from healer.actions.page import Page
from healer.actions.pin_model_version import PinModelVersion
from healer.actions.quarantine import Quarantine
from healer.actions.restart import Restart
from healer.actions.rollback import Rollback
from healer.actions.rollout_restart import RolloutRestart
from healer.actions.scale import ScaleWorkload
from healer.actions.shift_traffic import ShiftTraffic
from healer.actions.silence import SilenceAlerts

ACTIONS: dict[str, Action] = {
    action.spec.name: action
    for action in (
        Evict(),
        Restart(),
        Page(),
        Collect(),
        RunJob(),
        Quarantine(),
        Rollback(),
        RolloutRestart(),
        PinModelVersion(),
        ShiftTraffic(),
        ScaleWorkload(),
        Cordon(),
        SilenceAlerts(),
    )
}
