"""What an operator should know about a fault that ``doctor`` found, in words."""

_BY_CODE = (
    ("InvalidApiKey", "it is wrong, was deleted, or belongs to another region"),
    ("NOT AUTHORIZED", "the workspace does not exist, or the key is not one of its members'"),
    ("AccessDenied.Unpurchased", "activate Model Studio for the account in Alibaba's console"),
    ("AccessDenied", "the account or workspace has no right to it: grant it in Alibaba's console"),
    ("Model.AccessDenied", "open the model for the workspace in Alibaba's console"),
    ("Workspace.AccessDenied", "the key has no right to its workspace: see Alibaba's console"),
    ("AllocationQuota.FreeTierOnly", 'the free tier is used up: end "use free tier only" there'),
    ("Arrearage", "the account is in arrears: pay its bill"),
    ("CommodityNotPurchased", "Model Studio is not bought for the account: buy it"),
    ("PrepaidBillOverdue", "the account is in arrears: pay its bill"),
    ("PostpaidBillOverdue", "the account is in arrears: pay its bill"),
    ("Throttling", "other programs use up the account's limits, or try again"),
    ("ModelNotFound", "open the model for the account in Alibaba's console, or correct its name"),
    ("Model.NotExist", "open the model for the account in Alibaba's console, or correct its name"),
)
"""By how DashScope's code begins (docs/reference/dashscope.md, "7.1 Key, rights, account")."""

_NOT_OPENED = ("AccessDenied", "Model.", "ModelNotFound", "AllocationQuota")
_CLOCK_SECONDS = 30.0
"""More than a network's delay; signed URLs and the times in logs suffer from less than a minute."""
_EXPIRED = ("certificate is not yet valid", "certificate has expired")


def advice_on(code: str) -> str:
    """Return what a code means and what to do, after a ``: ``; nothing about an unknown one."""
    for head, words in _BY_CODE:
        if code.startswith(head):
            return f": {words}"
    return ""


def is_not_opened(code: str) -> bool:
    """Return whether *code*, of a call about a model, says that the account may not use it."""
    return code.startswith(_NOT_OPENED)


def about_certificates(error: str) -> str:
    """Return what else to look at if a certificate is refused by its dates."""
    if any(text in error for text in _EXPIRED):
        return "; look at this machine's clock first: a certificate is judged by it"
    return ""


def about_clock(ahead: float) -> str:
    """
    Return what is wrong with this machine's clock; nothing if it is right.

    Args:
        ahead: Seconds by which it is ahead of DashScope's.
    """
    if abs(ahead) < _CLOCK_SECONDS:
        return ""
    seconds = abs(ahead)
    much = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    side = "ahead of" if ahead > 0 else "behind"
    return (
        f"this machine's clock is {much} {side} DashScope's. Edits are resolved by DashScope's, "
        "but times in the log and the expiry of signed URLs are wrong: turn time synchronization "
        "on (timedatectl set-ntp true)"
    )
