"""`healer undo` of a pinned version: the policy and the labels from before come back, and no server loses what it serves."""

from typing import Any

import msgspec
import pytest

from healer.actions.base import NotUndone
from healer.actions.undo_pin import author_of
from healer.clock import SYSTEM
from healer.daemon.commands import Commands
from healer.lab.kinds import DEPLOYMENT
from healer.lab.objects import Object
from healer.model.incident import State
from healer.model_servers.history import Author, PolicyState, policy_of
from healer.model_servers.registry import SERVERS
from healer.model_servers.store import FileRef, VersionsDocument, write
from healer.model_servers.versions import ModelChange, Policy, specific
from healer.operate.objects import OperateError, object_ref
from healer.operate.undo import Undoing, undo
from healer.sinks.commands import CommandRefused
from tests.unit.operate.conftest import NAME, SPACE, Place
from tests.unit.operate.test_models import FILE, MAP, Stand, stand

__all__ = ["stand"]

pytestmark = pytest.mark.slow

ID = "crash-loop-1"
BEFORE = PolicyState("specific 41, 42", (41, 42), {"stable": 41, "canary": 42})
KEY = "models.config"


class Pinned:
    """The stand, with an incident for which healer has pinned ranker to version 41."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.place: Place = stand.place

    async def set_up(self, **note: str) -> "Pinned":
        await self.place.keep(self.place.incident(State.HEALED))
        state = msgspec.json.encode(BEFORE).decode()
        kept = {"configMap": MAP, "key": KEY, "model": "ranker", "version": "41", "from": state}
        notices = {"pinModelVersion": kept | {"server": "tensorflow", "port": str(self.stand.servers.port)} | note}
        path = f"{object_ref('Incident', SPACE, ID).path}/status"
        body = {"status": {"notices": notices}}
        await self.place.api.request("PATCH", path, body=body, content_type="application/merge-patch+json")
        await self.write(ModelChange(specific([41]), {"stable": 41, "canary": 41}), author_of(ID))
        return self

    async def write(self, change: ModelChange, who: str) -> None:
        """Somebody changes the file, with a line in its history."""
        file = SERVERS["tensorflow"].file
        assert file is not None

        async def decide(_: VersionsDocument) -> ModelChange:
            return change

        author = Author(who, "", "test", SYSTEM.stamp())
        await write(self.place.api, FileRef(SPACE, MAP, KEY, file), "ranker", author, decide)

    async def undo(self, *, force: bool = False) -> Undoing:
        return await undo(self.place.api, SPACE, ID, "alice", lambda _: None, force=force)


@pytest.fixture
async def pinned(stand: Stand) -> Pinned:
    return await Pinned(stand).set_up()


async def test_the_policy_and_the_labels_from_before_come_back(pinned: Pinned) -> None:
    """Both versions are there: the file is as it was, and its history says who did it; once."""
    shown = await pinned.undo()
    assert pinned.stand.text == FILE
    assert "model ranker in configmap/serving-models: specific 41, canary 41, stable 41 -> specific 41, 42" in str(shown)
    assert pinned.stand.history[-1]["who"] == f"healer undo ({ID})"
    assert not (await pinned.undo()).needed
    assert len(pinned.stand.history) == 2


async def test_a_version_that_the_servers_lack_is_loaded_beside_the_others_first(pinned: Pinned) -> None:
    """No server loses what it serves; a second call, when the version is there, does the rest."""
    pinned.stand.servers.say("127.0.0.1", (41, "AVAILABLE"))
    first = "not undone yet: version 42 of model ranker is not AVAILABLE on every server, and is loaded beside the others first"
    with pytest.raises(NotUndone, match=first):
        await pinned.undo()
    served = pinned.stand.served()
    assert (served.policy, served.labels) == (specific([41, 42]), {"stable": 41, "canary": 41})
    with pytest.raises(NotUndone, match=r"is not AVAILABLE on every server\. Undo it again"):
        await pinned.undo()
    pinned.stand.servers.say("127.0.0.1", (41, "AVAILABLE"), (42, "AVAILABLE"))
    await pinned.undo()
    assert pinned.stand.text == FILE


async def test_healers_own_account_which_may_not_ask_the_servers_names_who_can_undo_it(pinned: Pinned) -> None:
    """By the page and by chats: the roles do not grant it pods/proxy, by which it could ask any pod for anything."""
    front, lab = pinned.place.front, pinned.place.lab
    front.proxied = {key: url for key, url in front.proxied.items() if "/pods/" not in key}
    lab.forbid("get", "pods/proxy")
    way = rf"`get` on pods/proxy, can undo it: healer undo incident/{ID} -n {SPACE}; with --force"
    with pytest.raises(CommandRefused, match=rf"the right to `get` pods/proxy is missing.*{way}"):
        await Commands(pinned.place.api, "healer", "healer").undo(SPACE, ID, "alice (page)")
    assert pinned.stand.served().policy == specific([41])


async def test_when_the_servers_do_not_answer_nothing_is_undone_unless_forced(pinned: Pinned) -> None:
    """What they have is not known."""
    pinned.place.front.proxied = {key: url for key, url in pinned.place.front.proxied.items() if "/pods/" not in key}
    with pytest.raises(NotUndone, match="which versions the servers have is not known"):
        await pinned.undo()
    assert pinned.stand.served().policy == specific([41])
    await pinned.undo(force=True)
    assert pinned.stand.text == FILE


@pytest.mark.parametrize("who", ["ann", "healer (another-incident)"])
async def test_what_somebody_has_changed_since_stays_unless_forced(pinned: Pinned, who: str) -> None:
    """A person, or healer itself for another incident; also a change that left no line in the history."""
    await pinned.write(ModelChange(specific([42]), {"stable": 42, "canary": 42}), who)
    with pytest.raises(NotUndone, match=r"has specific 42, canary 42, stable 42: somebody has changed it since.*--force"):
        await pinned.undo()
    assert pinned.stand.served().policy == specific([42])
    await pinned.undo(force=True)
    served = pinned.stand.served()
    assert (served.policy, served.labels) == (specific([41, 42]), BEFORE.labels)


async def test_a_change_that_left_no_line_is_somebody_elses_too(pinned: Pinned) -> None:
    """By kubectl edit, say."""
    pinned.stand.rewrite(pinned.stand.text.replace("versions: 41", "versions: 42"))
    with pytest.raises(NotUndone, match="somebody has changed it since"):
        await pinned.undo()


async def test_a_file_that_the_workload_does_not_mount_is_not_touched(pinned: Pinned) -> None:
    """Whoever writes an incident of his own workload must not change the models of another one."""

    def unmount(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["volumes"] = []

    pinned.place.lab.api.modify(DEPLOYMENT, SPACE, NAME, unmount)
    with pytest.raises(NotUndone, match=f"have no volume of configmap/{MAP}"):
        await pinned.undo(force=True)
    assert pinned.stand.served().policy == specific([41])


@pytest.mark.parametrize("note", [{"from": "{}"}, {"from": '{"policy":"newest"}'}, {"server": "triton"}, {"port": "x"}])
async def test_a_note_that_healer_did_not_write_is_an_error(stand: Stand, note: dict[str, Any]) -> None:
    """It is said, and nothing is done."""
    pinned = await Pinned(stand).set_up(**note)
    with pytest.raises(OperateError, match="cannot be read"):
        await pinned.undo()
    assert stand.served().policy == specific([41])


async def test_a_model_that_is_gone_from_the_file(pinned: Pinned) -> None:
    """There is nothing to put back."""
    pinned.stand.rewrite("model_config_list {}")
    with pytest.raises(NotUndone, match="nothing was undone"):
        await pinned.undo(force=True)


@pytest.mark.parametrize("policy", [Policy(), Policy("latest", 3), Policy("all"), specific([1, 2])])
def test_every_policy_is_read_back_from_its_state(policy: Policy) -> None:
    """As it was written."""
    assert policy_of(PolicyState.of(policy, {})) == policy
