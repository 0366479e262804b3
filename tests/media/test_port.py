"""The control thread's side: installing, removing, and who may touch what when (DESIGN 2.5)."""

import gc
import random
import subprocess
import sys
import weakref

import pytest

from tests.media.world import CLOSING, GCM_128, MILLISECOND, SECOND, Client, World
from transceiverd.media.port import Installed, InstallRefused, Rebuilt, Removed


def test_port_contexts_live_until_media_has_let_go_and_no_longer() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    contexts = world.port._contexts[slot]
    alive = [weakref.ref(contexts.inbound), weakref.ref(contexts.outbound)]
    del contexts
    world.port.rebuild(slot)
    gc.collect()
    assert all(ref() is not None for ref in alive)
    world.turn()
    gc.collect()
    assert all(ref() is not None for ref in alive)
    world.port.poll_events()
    gc.collect()
    assert all(ref() is None for ref in alive)


def test_port_removed_media_touches_the_slot_no_more() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    generation = world.sessions.record(slot).generation
    world.port.remove(slot)
    world.port.remove(slot)
    world.turn()
    assert world.port.poll_events() == [Removed(slot, generation)]
    assert world.sessions.record(slot).media.installed == 0
    world.sessions.record(slot).state = CLOSING
    assert world.echo(slot, client.packet()) == []
    assert world.count("dropped_not_installed") == 1
    assert world.adds_up()


def test_port_a_slot_used_again_is_another_call() -> None:
    world, old, new = World(slots=1), Client(GCM_128, 1), Client(GCM_128, 2)
    slot = world.call(old)
    first = client_generation = world.sessions.record(slot).generation
    world.echo(slot, old.packet())
    world.port.remove(slot)
    world.turn()
    world.port.poll_events()
    world.sessions.free(slot)
    assert world.call(new) == slot
    assert world.sessions.record(slot).generation != client_generation
    assert world.echo(slot, old.packet(), generation=first) == []
    assert world.count("dropped_stale") == 1
    assert new.heard(world.echo(slot, new.packet())[0]).payload == b"voice"


def test_port_removing_what_was_never_installed_is_answered() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client, installed=False)
    world.port.remove(slot, bye=True)
    world.turn()
    assert world.port.poll_events() == [Removed(slot, world.sessions.record(slot).generation)]


def test_port_install_and_remove_in_one_turn() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client, installed=False)
    generation = world.sessions.record(slot).generation
    world.port.install(slot)
    world.port.rebuild(slot)
    world.port.remove(slot)
    world.turn()
    events = world.port.poll_events()
    assert events == [Installed(slot, generation), Rebuilt(slot, generation), Removed(slot, generation)]
    assert world.port._contexts == {}


def test_port_install_for_a_slot_given_out_anew_is_refused() -> None:
    world, client = World(slots=1), Client(GCM_128)
    slot = world.call(client, installed=False)
    generation = world.sessions.record(slot).generation
    world.port.install(slot)
    world.sessions.free(slot)
    assert world.sessions.allocate(world.now) == slot
    world.turn()
    assert world.port.poll_events() == [InstallRefused(slot, generation)]


def test_port_refuses_to_install_twice_or_without_keys() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    with pytest.raises(ValueError, match="installed"):
        world.port.install(slot)
    empty = world.sessions.allocate(world.now)
    assert empty is not None
    with pytest.raises(ValueError, match="profile"):
        world.port.install(empty)


def test_port_commands_beyond_the_ring_wait_and_none_is_lost() -> None:
    world = World(slots=700)
    slots = [world.call(Client(GCM_128, seed), installed=False) for seed in range(700)]
    for slot in slots:
        world.port.install(slot)
    installed = []
    for _ in range(40):
        world.turn()
        installed += [event.slot for event in world.port.poll_events() if isinstance(event, Installed)]
    assert installed == slots


def test_port_commands_wait_for_room_in_the_event_ring() -> None:
    """A control thread that does not poll stops commands, never packets; nothing is lost."""
    world = World(slots=4)
    client = Client(GCM_128)
    slot = world.call(client)
    for _ in range(3000):
        world.port.remove(3)
        world.port._removing.clear()
    for _ in range(100):
        world.turn()
        world.port._send_waiting()
    assert len(world.echo(slot, client.packet())) == 1
    removed = 0
    for _ in range(100):
        removed += sum(isinstance(event, Removed) for event in world.port.poll_events())
        world.turn()
    assert removed == 3000


def test_port_calls_come_and_go_while_reports_are_due() -> None:
    """The timer heap keeps its order through any mix: each call that is there reports about every 5 s."""
    dice = random.Random(5)
    world = World(slots=60)
    here: dict[int, Client] = {}
    for step in range(1200):
        if len(here) < 40 or dice.random() < 0.3:
            client = Client(GCM_128, step)
            if (slot := next((s for s in range(60) if s not in here), None)) is not None:
                here[world.call(client)] = client
        else:
            slot = dice.choice(list(here))
            world.port.remove(slot)
            world.turn()
            world.port.poll_events()
            world.sessions.free(slot)
            del here[slot]
        for slot in dice.sample(list(here), min(3, len(here))):
            world.give(slot, here[slot].packet())
        world.turn(50 * MILLISECOND)
        world.taken()
    for slot in here:
        due = world.sessions.record(slot).media.report_due_ns
        assert world.now < due < world.now + 8 * SECOND


def test_port_channel_that_outlives_everything_goes_in_silence() -> None:
    """Kept to the interpreter's end it was let go when `os` was gone: "Error in sys.excepthook" and no more."""
    code = "import sys; from transceiverd.media.channel import Channel; sys.kept = Channel()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
