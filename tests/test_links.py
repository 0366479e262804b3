"""The links between transceiverd's own processes: order, descriptors, slow and dying peers."""

import asyncio
import os
import socket

from transceiverd import links
from transceiverd.link import QUEUE_MAX, Link, socket_pair


def test_links_carry_messages_in_order_with_their_descriptors() -> None:
    async def story() -> None:
        left, right = socket_pair()
        seen: list[tuple[links.AnyMessage, list[int]]] = []
        closed = asyncio.Event()
        receiver = Link(right, lambda message, fds: seen.append((message, fds)), closed.set)
        sender = Link(left, lambda *_: None, lambda: None)
        read, write = os.pipe()
        for n in range(2000):  # more than the socket holds at once
            sender.send(links.HangupDone(n, True))
        sender.send(links.UseLane(7), (write,))
        os.close(write)  # a message that waits keeps its own
        while len(seen) < 2001:  # noqa: ASYNC110 - the link calls back; there is no event to wait for
            await asyncio.sleep(0)
        assert [message.request for message, _ in seen[:2000]] == list(range(2000))  # type: ignore[union-attr]
        message, (received,) = seen[2000]
        assert message == links.UseLane(7)
        os.write(received, b"x")
        assert os.read(read, 1) == b"x"
        os.close(received)
        os.close(read)
        sender.close()
        await asyncio.wait_for(closed.wait(), 2)
        assert receiver.closed

    asyncio.run(story())


def test_links_cut_off_a_peer_that_does_not_read() -> None:
    async def story() -> None:
        left, right = socket_pair()
        lost = asyncio.Event()
        sender = Link(left, lambda *_: None, lost.set)
        for n in range(2 * QUEUE_MAX):
            sender.send(links.HangupDone(n, True))
        assert lost.is_set()
        assert sender.closed
        right.close()

    asyncio.run(story())


def test_links_end_at_what_is_no_message() -> None:
    async def story() -> None:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        right.setblocking(False)
        closed = asyncio.Event()
        seen: list[object] = []
        Link(right, lambda message, _: seen.append(message), closed.set)
        left.send(b"\x81nonsense")
        await asyncio.wait_for(closed.wait(), 2)
        assert not seen
        left.close()

    asyncio.run(story())


def test_links_leave_nothing_of_a_message_that_only_a_newer_release_knows() -> None:
    """A new supervisor stands beside old transceivers during an upgrade. (They kept the descriptors it sent along.)"""

    class Tomorrow(links.Message, frozen=True):
        """A message of the next release."""

    async def story() -> None:
        left, right = socket_pair()
        seen: list[links.AnyMessage] = []
        come = asyncio.Event()

        def hear(message: links.AnyMessage, _descriptors: list[int]) -> None:
            seen.append(message)
            come.set()

        receiver = Link(right, hear, lambda: None)
        sender = Link(left, lambda *_: None, lambda: None)
        held = len(os.listdir("/proc/self/fd"))
        sender.send(Tomorrow(), (0, 1))
        sender.send(links.HangupDone(7, True))
        await asyncio.wait_for(come.wait(), 2)
        assert seen == [links.HangupDone(7, True)]
        assert len(os.listdir("/proc/self/fd")) == held
        sender.close()
        receiver.close()

    asyncio.run(story())
