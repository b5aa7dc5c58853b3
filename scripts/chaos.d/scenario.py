"""What goes wrong in a run, and when: chosen by the seed alone."""

import dataclasses
import random

# Frames of every migration, in their order; then those that come only where something has gone wrong before.
STEPS = ["HELLO", "WELCOME", "READY", "DEVICE_STATE", "DEVICE_STATE_END", "REQUEST", "LOADED", "COMMIT", "RUNNING",
         "PAGES", "ACK", "END", "COMPLETE", "CONFIRMED"]
# With memory that goes ahead there are more of them before the guest stops: whatever comes of PAGES and ACK, mostly.
AHEAD = [*STEPS[:3], "PAGES", "PAGES", "ACK", "DISCARD", "DISCARD", *STEPS[3:]]
AGAIN = ["HELLO", "WELCOME", "COMMIT", "RECEIVED", "RECEIVED_END", "PAGES", "END", "COMPLETE", "CONFIRMED", "ABORT"]

CUTS = ["cut both", "cut demand", "cut bulk", "no network"]
STALLS = ["stall both", "stall demand", "stall bulk"]
KILLS = ["kill source-agent", "kill dest-agent", "kill both agents"]
FREEZES = ["freeze source-agent", "freeze dest-agent"]
QEMUS = ["kill source QEMU", "kill destination QEMU"]
INTERRUPTS = ["interrupt source-agent", "interrupt dest-agent"]
WEIGHTS = [(CUTS, 4), (STALLS, 2), (KILLS, 6), (FREEZES, 2), (QEMUS, 2), (INTERRUPTS, 2)]

# After one of these in the drain there is another link.
BREAKS = {*CUTS, *KILLS, "stall both", "stall demand"}

# Nobody has the RAM of a QEMU that ends together with the agent.
NEVER_TOGETHER = {"kill source QEMU", "kill source-agent", "kill both agents"}


@dataclasses.dataclass
class Fault:
    kind: str
    seconds: float
    hard: bool

    def __str__(self):
        timed = self.kind.startswith(("stall", "freeze", "no network"))
        return f"{self.kind} {self.seconds:g} s" if timed else self.kind


@dataclasses.dataclass
class Moment:
    """At the count-th such frame from here on, or, without a frame, some seconds after the guest went over."""

    frame: str
    count: int
    after: bool
    seconds: float

    def __str__(self):
        if not self.frame:
            return f"{self.seconds:.2f} s into the drain"
        number = f" {self.count}" if self.count > 1 else ""
        return f"{'after' if self.after else 'before'} {self.frame}{number}"


@dataclasses.dataclass
class Blow:
    moment: Moment
    faults: list

    def __str__(self):
        return f"{' + '.join(map(str, self.faults))} {self.moment}"


@dataclasses.dataclass
class Scenario:
    blows: list
    bandwidth_mib: int
    ahead: bool
    random: random.Random

    def pause(self):
        """How long an agent that was killed stays away."""
        return self.random.choice((0, 0.2, 1, 3)) * self.random.random()


def choose(seed, run):
    chosen = random.Random(f"{seed}-{run}")
    # Of its own, so that a seed means what it meant before.
    ahead = random.Random(f"{seed}-{run}-ahead").random() < 0.4
    blows = [Blow(moment(chosen, AHEAD if ahead else STEPS), [fault(chosen, [])])]
    if chosen.random() < 0.25:
        blows[0].faults.append(fault(chosen, blows[0].faults))
    while len(blows) < 3 and chosen.random() < 0.35:
        before = [fault.kind for blow in blows for fault in blow.faults]
        # Before the commit nothing comes behind the first blow; then the next is for the side that is left.
        frames = AGAIN if BREAKS & set(before) else ["PAGES", "END", "COMPLETE", "CONFIRMED"]
        blows.append(Blow(moment(chosen, frames), [fault(chosen, [], before)]))
    return Scenario(blows, chosen.choice((50, 80, 120)), ahead, random.Random(f"{seed}-{run}-pauses"))


def moment(chosen, frames):
    if chosen.random() < 0.25:
        return Moment("", 0, False, chosen.random() * 1.2)
    frame = chosen.choice(frames)
    count = {"PAGES": chosen.randint(1, 400), "ACK": chosen.randint(1, 150), "REQUEST": chosen.randint(1, 20),
             "HELLO": chosen.randint(1, 2), "WELCOME": chosen.randint(1, 2)}.get(frame, 1)
    return Moment(frame, count, chosen.random() < 0.5, 0)


def fault(chosen, beside, before=()):
    taken = {fault.kind for fault in beside} | set(before)
    while True:
        kinds = chosen.choices([kinds for kinds, _ in WEIGHTS], [weight for _, weight in WEIGHTS])[0]
        kind = chosen.choice(kinds)
        if any(targets(kind) & targets(fault.kind) for fault in beside):
            continue
        if kind in NEVER_TOGETHER and "kill source QEMU" in taken | {kind} and taken & NEVER_TOGETHER:
            continue
        return Fault(kind, duration(chosen, kind), chosen.random() < 0.5)


def targets(kind):
    """What a fault hits: two at once that hit the same would be one."""
    if kind == "kill both agents":
        return {"source-agent", "dest-agent"}
    return {"network"} if kind.startswith(("cut", "stall", "no network")) else {kind.split(" ", 1)[-1]}


def duration(chosen, kind):
    if kind.startswith("stall"):
        # The longest is a connection that is half open: nobody says that it ended.
        return chosen.choice((1, 1, 2, 4, 8, 30))
    if kind.startswith("freeze"):
        return chosen.choice((1, 1, 7))
    return chosen.choice((0.2, 1, 3))
