"""Which ufrag keys live calls were minted under.

Asked by the transceiver when its supervisor wants to rotate the keys: a key verifies until no call lives under it.
"""

from collections import Counter
from collections.abc import Iterable

from relayd.ufrag import decode
from transceiverd.calls import Call


def calls_by_key(calls: Iterable[Call]) -> dict[int, int]:
    """How many calls, closing ones included, were minted under each key id that has any."""
    return dict(Counter(decode(call.session.agent.local_ufrag).key_id for call in calls))
