"""Local servers that answer as the webhooks of chats do: what they take, how they refuse, how they limit.

DingTalk: https://open.dingtalk.com/document/orgapp/custom-robots-send-group-messages; Feishu:
https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot; WeCom: https://developer.work.weixin.qq.com/document/path/91770;
Mattermost: https://developers.mattermost.com/integrate/webhooks/incoming; Teams: Adaptive Cards by a workflow.
"""

import base64
import hashlib
import hmac
from typing import Any, ClassVar

from tests.support.receiver import Posting, Receiver, Reply

SECRET = "SEC-of-the-robot"
HOUR = 3600.0


def _signed(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


class FakeChat(Receiver):
    """What all have in common. `path` is that of its URL, with its token."""

    path: ClassVar[str]
    limited: ClassVar[Reply]
    """Its answer to too many messages."""

    def __init__(self, now: float = 0.0) -> None:
        super().__init__()
        self.now = now

    @property
    def hook(self) -> str:
        return self.url + self.path

    @property
    def texts(self) -> list[str]:
        """What people read, message by message."""
        return [self.text(posting.json) for posting in self.taken]

    def text(self, body: Any) -> str:
        """All texts of a message."""
        if isinstance(body, dict):
            return "\n".join(self.text(each) for each in body.values())
        if isinstance(body, list):
            return "\n".join(map(self.text, body))
        return str(body)


class FakeTeams(FakeChat):
    """202 and no body; 400 for what is no card; 413 above 28 kB."""

    path = "workflows/0a1b/triggers/manual/paths/invoke?sig=teams-secret"
    limited = Reply(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "0"})

    def answer(self, posting: Posting) -> Reply:
        if posting.query.get("sig") != "teams-secret":
            return Reply(401, {"error": {"code": "DirectApiAuthorizationRequired"}})
        if len(posting.body) > 28 * 1024:
            return Reply(413, {"error": {"code": "RequestEntityTooLarge"}})
        body = posting.json
        cards = [each["content"] for each in body["attachments"]]
        elements = [element for card in cards for element in (*card["body"], *card["actions"])]
        facts = [fact for element in elements for fact in element.get("facts", [])]
        colours = {element.get("color", "default") for element in elements}
        whole = (
            body["type"] == "message"
            and all(each["contentType"] == "application/vnd.microsoft.card.adaptive" for each in body["attachments"])
            and all(card["type"] == "AdaptiveCard" and card["version"] for card in cards)
            and {element["type"] for element in elements} <= {"TextBlock", "FactSet", "Action.OpenUrl"}
            and all(fact["title"] and fact["value"] for fact in facts)
            and all(element["url"].startswith("http") for element in elements if element["type"] == "Action.OpenUrl")
            and colours <= {"default", "accent", "good", "warning", "attention"}
        )
        return Reply(202, "") if whole else Reply(400, {"error": {"code": "BadRequest"}})


class FakeMattermost(FakeChat):
    """200 "ok"; 400 with an id for an unknown hook or an empty text."""

    path = "hooks/mattermost-secret"
    limited = Reply(429, "limit exceeded\n", {"X-Ratelimit-Reset": "1", "Retry-After": "0"})

    def answer(self, posting: Posting) -> Reply:
        body = posting.json
        if posting.path != "/hooks/mattermost-secret":
            return Reply(400, {"id": "web.incoming_webhook.invalid.app_error", "message": "Invalid webhook.", "status_code": 400})
        if not body["text"] or len(self.text(body)) > 16_383:
            return Reply(400, {"id": "web.incoming_webhook.text.app_error", "message": "No text specified.", "status_code": 400})
        return Reply(200, "ok")


class _Coded(FakeChat):
    """Answers 200, and says by a code whether it took the message."""

    def code(self, posting: Posting) -> tuple[int, str]:
        raise NotImplementedError

    def said(self, code: int, text: str) -> dict[str, Any]:
        return {"errcode": code, "errmsg": text}

    def answer(self, posting: Posting) -> Reply:
        return Reply(200, self.said(*self.code(posting)))

    @property
    def texts(self) -> list[str]:
        return [self.text(posting.json) for posting in self.taken if self.code(posting)[0] == 0]


class FakeDingTalk(_Coded):
    """errcode 0; 310000 for a wrong signature, 300005 for an unknown token, 130101 above 20 a minute."""

    path = "robot/send?access_token=ding-secret"
    limited = Reply(200, {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"})

    def code(self, posting: Posting) -> tuple[int, str]:
        query = posting.query
        if query.get("access_token") != "ding-secret":
            return 300005, "token is not exist"
        moment = query.get("timestamp", "0")
        if abs(int(moment) / 1000 - self.now) > HOUR or query.get("sign") != _signed(SECRET, f"{moment}\n{SECRET}"):
            return 310000, "sign not match, more: [https://ding-doc.dingtalk.com/doc#/serverapi2/qf2nxq]"
        body = posting.json
        if body["msgtype"] != "markdown" or not body["markdown"]["title"] or not body["markdown"]["text"]:
            return 40035, "不合法的参数"
        return (0, "ok") if len(posting.body) <= 20_000 else (460101, "message too long, exceed 20000 bytes")


class FakeFeishu(_Coded):
    """code 0; 19021 for a wrong signature, 19001 for an unknown token, 11232 above its limits."""

    path = "open-apis/bot/v2/hook/feishu-secret"
    limited = Reply(200, {"code": 11232, "msg": "frequency limited psm[lark.oapi.app_platform_runtime]appID[1500]"})

    def said(self, code: int, text: str) -> dict[str, Any]:
        return {"code": code, "msg": text, "data": {}}

    def code(self, posting: Posting) -> tuple[int, str]:
        body = posting.json
        if not posting.path.endswith("/feishu-secret"):
            return 19001, "param invalid: incoming webhook access token invalid"
        moment = body.get("timestamp", "0")
        if abs(int(moment) - self.now) > HOUR or body.get("sign") != _signed(f"{moment}\n{SECRET}", ""):
            return 19021, "sign match fail or timestamp is not within one hour from current time"
        card = body["card"]
        tags = {element["tag"] for element in card["elements"]}
        colours = {"blue", "wathet", "turquoise", "green", "yellow", "orange", "red", "carmine", "violet", "purple", "grey"}
        if body["msg_type"] != "interactive" or not tags <= {"div", "hr", "action"} or card["header"]["template"] not in colours:
            return 9499, "Bad Request"
        return (0, "success") if len(posting.body) <= 20 * 1024 else (11246, "request body is too large")


class FakeWeCom(_Coded):
    """errcode 0; 93000 for an unknown key, 45009 above 20 a minute, 40058 above 4,096 bytes."""

    path = "cgi-bin/webhook/send?key=wecom-secret"
    limited = Reply(200, {"errcode": 45009, "errmsg": "api freq out of limit, hint: [1700000000], from ip: 10.0.0.1"})

    def code(self, posting: Posting) -> tuple[int, str]:
        if posting.query.get("key") != "wecom-secret":
            return 93000, "invalid webhook url, hint: [1700000000], from ip: 10.0.0.1"
        body = posting.json
        if body["msgtype"] != "markdown" or not 0 < len(body["markdown"]["content"].encode()) <= 4096:
            return 40058, "markdown.content exceed max length 4096. invalid Request Parameter"
        return 0, "ok"


CHATS: dict[str, type[FakeChat]] = {
    "teams": FakeTeams,
    "mattermost": FakeMattermost,
    "dingtalk": FakeDingTalk,
    "feishu": FakeFeishu,
    "wecom": FakeWeCom,
}
