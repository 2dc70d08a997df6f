"""Why input from outside was not taken: the two answers that a receiver of signals can give instead of deciding them."""


class WebhookError(Exception):
    """The sender's fault: nothing of the body was taken, and sending it again will not help.

    `status` is the HTTP status (4xx), `message` says what and where, `hint` what to do.
    """

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


NOTHING = "nothing was taken: send it again later"
PERHAPS = "it is taken, in part at least, and not kept yet: send it again later; what was taken counts once"


class QueueFull(Exception):
    """Ours: send it again after `retry_after` seconds. `hint` says so, and whether anything was taken: NOTHING or PERHAPS."""

    def __init__(self, message: str = "the queue of signals is full", retry_after: float = 5.0, *, hint: str = NOTHING) -> None:
        super().__init__(message)
        self.hint = hint
        self.message = message
        self.retry_after = retry_after
