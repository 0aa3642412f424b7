"""Loop 2: what is due is sent, judged and settled, in one lane per destination."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter, time_ns
from typing import Protocol

import structlog

from relay.core.counters import DestinationTally
from relay.core.exchange import Delivered, Outcome, Reason, Response
from relay.core.liveness import Pulse
from relay.core.status import Condition
from relay.delivery.acks import Settling
from relay.delivery.attempt_log import buried, line, words
from relay.delivery.batching import agreed, was_too_large
from relay.delivery.circuit_breaker import Health, Turn, answered
from relay.delivery.client import Channel
from relay.delivery.prefetch import AtHand, Batch
from relay.delivery.rate_limit import Valve
from relay.delivery.retry import Attempt
from relay.destinations.catalog import Render
from relay.store.records import Delivery, Outbox, Settled

log = structlog.get_logger()

AT_ONCE = 64
"""How many deliveries are fetched from the store at once, where no more go in one request."""

UNSETTLED = 32
"""How many that were answered may wait for the store, which takes them in together; after a crash
they are sent once more."""

NAP_S = 60.0
"""The longest wait for a due time, and how often what is too old is looked for."""

EVER_NS = 10**18
"""Longer than anything waits."""


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
        self._log = log.bind(destination=channel.name)
        self._now = now
        self._chance = chance
        self._news = outbox.news(channel.name)
        valve.on_change(self._news.ring)
        self._ready = AtHand(channel.batch)
        self._more = True
        """Whether the store may have something that is due and is not at hand."""
        self._next_ns: int | None = None
        """When something will be due that was not when the store was asked last."""
        self._under_way: set[int] = set()
        """Those that are sent, and those whose outcome is not in the store yet."""
        self._unanswered = 0
        """How many requests are under way."""
        self._settling = Settling(channel.name, outbox, now, self._settled)
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
        self._news.ring()
        return waited

    async def run(self) -> None:
        """Deliver until told to stop; then return when what is under way is settled."""
        await self._resume()
        try:
            async with asyncio.TaskGroup() as settling:
                settling.create_task(self._settling.run())
                async with asyncio.TaskGroup() as attempts:
                    await self._deliver_all(attempts)
                self._settling.close()
        finally:
            self._valve.part(self, self._news.ring)

    async def _deliver_all(self, attempts: asyncio.TaskGroup) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping
            self._news.clear()
            self._heed_news()
            await self._begin_anew()
            await self._sweep()
            next_s = await self._fetch()
            if self._leaving:
                self._valve.leave(self)  # it has no turn while what is under way is settled
                return
            limit_s = self._start(attempts)
            if self._more and self._lacks_some() and self._may_begin():
                continue
            if not self._stopping:
                self._make_room()
                await self._pause(min(next_s, limit_s))

    def stop(self) -> None:
        """Begin what is due and finds room, once more, and then no further attempt."""
        self._stopping = True
        self._news.ring()

    def leave(self) -> None:
        """Begin no further attempt: another lane goes on, or none."""
        self._leaving = True
        self._news.ring()

    def reword(self, render: Render) -> None:
        """Say it so from here on."""
        self._channel = replace(self._channel, render=render)

    async def _resume(self) -> None:
        """What the destination asked for holds across a restart, and an episode goes on."""
        self._news.take()  # what another lane was told
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
        self._heed_news()
        self._ready.put_down()  # what is under way is known, what is at hand would not be
        self._more = True
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

    def _heed_news(self) -> None:
        """Take what was handed over: nothing of it was fetched, for then there is no room."""
        told = self._news.take()
        self._more |= told.more
        self._ready.add(told.fresh)

    def _make_room(self) -> None:
        """Let what is committed next be handed over, where nothing that is due comes before it."""
        caught_up = not (self._more or self._health.probing or self._health.stopped)
        self._news.make_room(max(0, self._most_at_hand - len(self._ready)) if caught_up else 0)

    @property
    def _most_at_hand(self) -> int:
        return max(AT_ONCE, self._channel.destination.concurrency, self._ready.most)

    async def _fetch(self) -> float:
        """Get what is due, if too little is at hand; in how many seconds there will be more."""
        now_ns = self._now()
        if self._next_ns is not None and self._next_ns <= now_ns:
            self._more, self._next_ns = True, None
        if self._health.stopped:
            return NAP_S
        if not self._lacks_some():
            return self._next_s(now_ns)
        most, until_ns = self._most_at_hand, now_ns
        if self._health.probing:  # whatever is first finds out, when it is time for that
            if (wait_s := self._health.wait_s(now_ns / 1e9)) > 0:
                return wait_s
            most, until_ns = 1, now_ns + EVER_NS
        elif not self._more:
            return self._next_s(now_ns)
        known = self._under_way | self._ready.seqs
        due = await self._outbox.due(self._channel.name, until_ns, most, known)
        self._ready.add(due.deliveries)
        again_ns = now_ns + int(NAP_S * 1e9)  # whatever nobody told of
        self._more = len(due.deliveries) == most
        self._next_ns = min(due.next_ns or again_ns, again_ns)
        self._heed_news()  # more may have come meanwhile
        return self._next_s(now_ns)

    def _next_s(self, now_ns: int) -> float:
        return NAP_S if self._next_ns is None else (self._next_ns - now_ns) / 1e9

    def _may_begin(self) -> bool:
        """Whether an attempt would begin, if there were something to send."""
        return self._has_room() and self._health.wait_s(self._now_s()) == 0

    def _lacks_some(self) -> bool:
        """Whether fewer are at hand than can be sent."""
        least = max(self._ready.most, self._channel.destination.concurrency)
        return len(self._ready) < (1 if self._health.probing else least)

    def _start(self, attempts: asyncio.TaskGroup) -> float:
        """Begin attempts while there is room; in how many seconds the next may begin."""
        while self._ready and self._has_room():
            now_s = self._now_s()
            if (wait_s := self._hindrance_s(now_s)) > 0:
                return wait_s
            attempts.create_task(self._deliver(self._take(now_s)))
        self._valve.leave(self)
        return NAP_S

    def _hindrance_s(self, now_s: float) -> float:
        """How long until what is at hand may be sent; 0 if it may go now."""
        wait_s = max(self._health.wait_s(now_s), self._company_s())
        if wait_s > 0:
            self._valve.leave(self)
            return wait_s
        return self._valve.wait_s(self, now_s)

    def _take(self, now_s: float) -> Batch:
        """What goes in the next request."""
        self._valve.spend(self, now_s)
        batch = self._ready.take(self._channel.render, now_s, alone=self._health.probing)
        self._under_way.update(delivery.seq for delivery, _ in batch)
        self._unanswered += 1
        return batch

    def _company_s(self) -> float:
        """How long the first that is at hand still waits for others to go with it."""
        if self._stopping or self._health.probing:
            return 0.0
        return self._ready.wait_s(self._now())

    def _has_room(self) -> bool:
        most = 1 if self._health.probing else self._channel.destination.concurrency
        each = self._ready.most
        fits = len(self._under_way) + each <= most * each + UNSETTLED
        return self._unanswered < most and fits

    async def _pause(self, most_s: float) -> None:
        """Wait for news: something was committed or settled, or it is time to stop."""
        try:
            with self.pulse.resting():
                async with asyncio.timeout(min(most_s, NAP_S)):
                    await self._news.wait()
        except TimeoutError:
            pass

    async def _deliver(self, batch: Batch) -> None:
        """Send a batch, and then what is at hand, one after the other."""
        await self._attempt(batch)
        while self._may_go_on():
            batch = self._take(self._now_s())
            if self._more and self._lacks_some():
                self._news.ring()
            await self._attempt(batch)
        self._go_on()

    def _may_go_on(self) -> bool:
        ends = self._stopping or self._leaving
        waits = not self._ready or not self._has_room()
        return not ends and not waits and self._hindrance_s(self._now_s()) == 0

    async def _attempt(self, batch: Batch) -> None:
        begun_ns, begun_s = self._now(), perf_counter()
        written = [(delivery.notification.id, request) for delivery, request in batch]
        try:
            response = await self._channel.post(written)
        finally:
            self._unanswered -= 1
        if was_too_large(response, len(batch)):
            self._log.info("batch.too_large", batch=len(batch))
            self._ready.take_back(batch, self._now_s())
            self._under_way.difference_update(delivery.seq for delivery, _ in batch)
            return
        settled = self._judge(batch, response, begun_ns)
        took_s = perf_counter() - begun_s
        batched = self._channel.batch is not None
        self._log.info("delivery.attempted", **line(settled, response, took_s, batched=batched))
        turn = self._heed(settled, response)
        self._settling.add(settled, turn, last=not (self._unanswered or self._ready))

    def _settled(self, seqs: Iterable[int]) -> None:
        """These are on disk."""
        self._under_way.difference_update(seqs)
        self._go_on()

    def _go_on(self) -> None:
        """There is room. What is due because something was settled, the outbox tells."""
        if self._ready or self._more or self._stopping or self._leaving:
            self._news.ring()

    def _judge(self, batch: Batch, response: Response, begun_ns: int) -> Sequence[Settled]:
        """What became of each; by one response, one throw of the dice, and its own history."""
        chance, wall_s = self._chance(), time_ns() / 1e9

        def judged(delivery: Delivery) -> Outcome:
            age_s = (begun_ns - delivery.created_ns) / 1e9
            attempt = Attempt(delivery.attempts, age_s, chance, wall_s)
            return self._channel.judge(response, attempt)

        deliveries = [delivery for delivery, _ in batch]
        first = judged(deliveries[0])
        if isinstance(first, Delivered):  # no history changes that
            return [Settled(delivery, first) for delivery in deliveries]
        outcomes, answer = agreed([*map(judged, deliveries)]), response.answer
        pairs = zip(deliveries, outcomes, strict=True)
        return [Settled(delivery, outcome, answer) for delivery, outcome in pairs]

    def _heed(self, settled: Sequence[Settled], response: Response) -> Turn | None:
        """Do what one response means for all that goes to the destination."""
        now_s, answered_ns = self._now_s(), time_ns()
        for delivery, outcome, _ in settled:
            self.tally.count(outcome)
            if isinstance(outcome, Delivered):
                happened_ns = delivery.notification.events[0].time_ns
                self.tally.latencies.add((answered_ns - happened_ns) / 1e9)
        outcome = settled[0].outcome  # of the destination each says the same
        if not isinstance(outcome, Delivered):  # else all of them are
            for reason, count in buried(settled).items():
                self._gossip.bury(self.name, reason, count)
        if outcome.pause_s > 0:
            self._valve.close(now_s + outcome.pause_s)
        failed_for_s = self._health.failed_for_s(now_s)
        turn = self._health.record(outcome, now_s, self._chance())
        match turn:
            case Turn.FAILING:
                facts = {"why": answered(outcome).value, "reason": words(response, outcome)}
                self._gossip.turn(turn, self.name, facts)
            case Turn.RECOVERED:
                self._gossip.turn(turn, self.name, {"failed_for_s": f"{failed_for_s:.0f}"})
        return turn

    def _now_s(self) -> float:
        return self._now() / 1e9
