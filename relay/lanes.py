"""Loop 2: what is due is sent, judged and settled, in one lane per destination."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter, time_ns
from typing import Protocol

import structlog

from relay.channel import Channel
from relay.condition import Condition
from relay.delivery.health import Health, Turn, answered
from relay.delivery.limits import Valve
from relay.delivery.retry import Attempt
from relay.event import TYPE_RELAY
from relay.exchange import Dead, Delivered, Outcome, Reason, Response, kind
from relay.formats import Render
from relay.pulse import Pulse
from relay.store.outbox import Delivery, Outbox
from relay.tally import DestinationTally

log = structlog.get_logger()

AT_ONCE = 64
"""How many deliveries are fetched from the store at once."""

NAP_S = 60.0
"""The longest wait for a due time, and how often what is too old is looked for."""

EVER_NS = 10**18
"""Longer than anything waits."""

ANSWER_CHARS = 200
"""How much of an answer a log line shows."""


class Gossip(Protocol):
    """Who is told what becomes of a destination; nothing of it waits."""

    def turn(self, turn: Turn, destination: str, facts: Mapping[str, str]) -> None:
        """It began to fail, or works again."""
        ...

    def bury(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Deliveries were given up."""
        ...


class Lane:
    """Delivers to one destination, several at a time, those about one subject in order."""

    def __init__(
        self,
        channel: Channel,
        outbox: Outbox,
        valve: Valve,
        gossip: Gossip,
        now: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        """``now`` is the clock by which deliveries are due; ``chance`` as in `Attempt`."""
        self._channel = channel
        self._outbox = outbox
        self._valve = valve
        self._gossip = gossip
        self._now = now
        self._chance = chance
        self._news = outbox.news(channel.name)
        valve.on_change(self._news.set)
        self._ready: deque[Delivery] = deque()
        self._under_way: set[int] = set()
        self._health = Health(channel.destination.retry)
        self._swept_s = float("-inf")
        self._enabled = False
        self._stopping = False
        self._leaving = False
        self.pulse = Pulse()

    @property
    def tally(self) -> DestinationTally:
        """What came of the attempts so far."""
        return self._channel.tally

    @property
    def name(self) -> str:
        """The destination's."""
        return self._channel.name

    @property
    def condition(self) -> Condition:
        """How the destination is."""
        now_s = self._now_s()
        stopped, failing = self._health.stopped, self._health.failing
        wait_s = max(self._valve.closed_s(now_s), 0.0 if stopped else self._health.wait_s(now_s))
        resumes_ns = self._now() + int(wait_s * 1e9) if wait_s else None
        return Condition(stopped, failing, resumes_ns)

    def enable(self) -> bool:
        """Send again at once, whatever the destination asked for; whether that was to wait."""
        waited = self.condition != Condition()
        self._health.enable(self._now_s())
        self._valve.open()
        self._enabled = True
        self._news.set()
        return waited

    async def run(self) -> None:
        """Deliver until told to stop; then return when what is under way is settled."""
        await self._resume()
        try:
            async with asyncio.TaskGroup() as attempts:
                await self._deliver_all(attempts)
        finally:
            self._valve.part(self, self._news.set)

    async def _deliver_all(self, attempts: asyncio.TaskGroup) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping
            self._news.clear()
            await self._begin_anew()
            await self._sweep()
            had_some = bool(self._ready)
            next_s = await self._fetch()
            if self._leaving:
                self._valve.leave(self)  # it has no turn while what is under way is settled
                return
            limit_s = self._start(attempts)
            if had_some and not self._ready and self._has_room():
                continue  # there may be more in the store
            if not self._stopping:
                await self._pause(min(next_s, limit_s))

    def stop(self) -> None:
        """Begin what is due and finds room, once more, and then no further attempt."""
        self._stopping = True
        self._news.set()

    def leave(self) -> None:
        """Begin no further attempt: another lane goes on, or none."""
        self._leaving = True
        self._news.set()

    def reword(self, render: Render) -> None:
        """Say it so from here on."""
        self._channel = replace(self._channel, render=render)

    async def _resume(self) -> None:
        """What the destination asked for holds across a restart, and an episode goes on."""
        now_ns = self._now()
        since_ns = (await self._outbox.episodes()).get(self.name)
        if since_ns is not None:
            self._health.resume(since_ns / 1e9, now_ns / 1e9)
        until_ns = (await self._outbox.pauses(now_ns)).get(self.name)
        if until_ns is not None:
            most_s = self._channel.destination.retry.max_after.total_seconds()
            self._valve.close(min(until_ns / 1e9, now_ns / 1e9 + most_s))

    async def _begin_anew(self) -> None:
        """After `enable`: nothing that waits goes on waiting."""
        if self._enabled:
            self._enabled = False
            await self._outbox.end_pause(self.name)
            await self._outbox.hurry(self.name, self._now())

    async def _sweep(self) -> None:
        """Give up what is too old, where no attempt will: while the destination takes nothing."""
        now_s = self._now_s()
        blocked = self._health.failing or self._valve.closed_s(now_s) > 0
        if not blocked or now_s < self._swept_s + NAP_S:
            return
        self._ready.clear()  # what is under way is known, what is at hand would not be
        age_ns = int(self._channel.destination.retry.max_age.total_seconds() * 1e9)
        now_ns = self._now()
        expired = await self._outbox.expire(self.name, now_ns - age_ns, now_ns, self._under_way)
        if expired.count:
            self.tally.swept += expired.count
            log.warning("delivery.expired", destination=self.name, count=expired.count)
            if others := expired.count - expired.own:
                self._gossip.bury(self.name, Reason.EXPIRED, others)
        else:
            self._swept_s = now_s

    async def _fetch(self) -> float:
        """Get what is due, if nothing is at hand; in how many seconds there will be more."""
        if self._ready or self._health.stopped:
            return NAP_S
        now_ns = self._now()
        most, until_ns = max(AT_ONCE, self._channel.destination.concurrency), now_ns
        if self._health.probing:  # whatever is first finds out, when it is time for that
            if (wait_s := self._health.wait_s(now_ns / 1e9)) > 0:
                return wait_s
            most, until_ns = 1, now_ns + EVER_NS
        due = await self._outbox.due(self._channel.name, until_ns, most, self._under_way)
        self._ready.extend(due.deliveries)
        return NAP_S if due.next_ns is None else (due.next_ns - now_ns) / 1e9

    def _start(self, attempts: asyncio.TaskGroup) -> float:
        """Begin attempts while there is room; in how many seconds the next may begin."""
        while self._ready and self._has_room():
            now_s = self._now_s()
            if (wait_s := self._health.wait_s(now_s)) > 0:
                self._valve.leave(self)
                return wait_s
            if (wait_s := self._valve.wait_s(self, now_s)) > 0:
                return wait_s
            self._valve.spend(self, now_s)
            delivery = self._ready.popleft()
            self._under_way.add(delivery.seq)
            attempts.create_task(self._deliver(delivery))
        self._valve.leave(self)
        return NAP_S

    def _has_room(self) -> bool:
        most = 1 if self._health.probing else self._channel.destination.concurrency
        return len(self._under_way) < most

    async def _pause(self, most_s: float) -> None:
        """Wait for news: something was committed or settled, or it is time to stop."""
        try:
            with self.pulse.resting():
                async with asyncio.timeout(min(most_s, NAP_S)):
                    await self._news.wait()
        except TimeoutError:
            pass

    async def _deliver(self, delivery: Delivery) -> None:
        begun_ns, begun_s = self._now(), perf_counter()
        response = await self._channel.send(delivery.notification)
        attempt = Attempt(
            earlier=delivery.attempts,
            age_s=(begun_ns - delivery.created_ns) / 1e9,
            chance=self._chance(),
            wall_s=time_ns() / 1e9,
        )
        outcome = self._channel.judge(response, attempt)
        self._log(delivery, response, outcome, perf_counter() - begun_s)
        turn = self._heed(delivery, response, outcome)
        await self._outbox.settle(delivery, outcome, self._now(), response.answer)
        await self._keep(turn)
        self._under_way.discard(delivery.seq)
        self._news.set()

    async def _keep(self, turn: Turn | None) -> None:
        match turn:
            case Turn.FAILING:
                await self._outbox.begin_episode(self.name, self._now())
            case Turn.RECOVERED:
                await self._outbox.end_episode(self.name)
                await self._outbox.hurry(self.name, self._now())

    def _heed(self, delivery: Delivery, response: Response, outcome: Outcome) -> Turn | None:
        """Do what an outcome means for all that goes to the destination."""
        now_s = self._now_s()
        self.tally.count(outcome)
        if isinstance(outcome, Delivered):
            happened_ns = delivery.notification.events[0].time_ns
            self.tally.latencies.add((time_ns() - happened_ns) / 1e9)
        if outcome.pause_s > 0:
            self._valve.close(now_s + outcome.pause_s)
        if isinstance(outcome, Dead) and delivery.notification.events[0].type != TYPE_RELAY:
            self._gossip.bury(self.name, outcome.reason)
        failed_for_s = self._health.failed_for_s(now_s)
        turn = self._health.record(outcome, now_s, self._chance())
        match turn:
            case Turn.FAILING:
                facts = {"why": answered(outcome).value, "reason": _words(response, outcome)}
                self._gossip.turn(turn, self.name, facts)
            case Turn.RECOVERED:
                self._gossip.turn(turn, self.name, {"failed_for_s": f"{failed_for_s:.0f}"})
        return turn

    def _log(self, delivery: Delivery, response: Response, outcome: Outcome, took_s: float) -> None:
        """The one wide line about an attempt."""
        after_s = getattr(outcome, "after_s", None)
        said = response.answer.text[:ANSWER_CHARS]
        log.info(
            "delivery.attempted",
            route=delivery.notification.route,
            destination=delivery.destination,
            notification=delivery.notification.id,
            attempt=delivery.attempts + 1,
            status=response.status,
            duration_ms=round(took_s * 1000, 1),
            outcome=kind(outcome),
            reason=outcome.reason.value,
            error=response.error,
            answer=None if isinstance(outcome, Delivered) else said or None,
            retry_in_s=None if after_s is None else round(after_s, 1),
        )

    def _now_s(self) -> float:
        return self._now() / 1e9


def _words(response: Response, outcome: Outcome) -> str:
    """What went wrong, for people."""
    if response.status is None:
        return response.error or outcome.reason.value
    said = response.error or response.answer.text[:ANSWER_CHARS].strip()
    return f"answered {response.status}" + (f": {said}" if said else "")
