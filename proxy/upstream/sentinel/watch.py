"""Who the master is, from the first answer of a Sentinel on, and that we hear when it is another.

    SOUGHT ──▶ NAMED ──▶ DOUBTED ──▶ NAMED     each naming is a Sentinel's, and in force until
                 └── +switch-master ─┘          a connection fails or is lost: then it is asked anew

    poll        once a second one Sentinel is asked, each in its turn; where it says another thing
                than we know, all of them (answers.decided)
    events      of subscriptions on several (listening.py): a switch is believed at once, for what
                is sent to the old master from then on is lost; of others the teller is asked

Owns the naming in force and one task, which nothing ends but the process. Dials no master: dial.py
asks ``named``, and says when it doubts."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from ...log import event
from ...settings.address import Tcp
from .answers import Change, Event, Naming, decided
from .sentinels import Sentinels

log = logging.getLogger(__name__)

POLL: Final = 1.0  # seconds
# Between two times of asking because of a doubt: five in a second, however many lanes fail.
APART: Final = 0.2
# The same where an event says that somebody knows.
APART_TOLD: Final = 0.02
# More who have sent an event are not remembered: all are asked then.
TELLERS_MAX: Final = 8


class Trust(Enum):
    SOUGHT = auto()  # no Sentinel has named it yet
    NAMED = auto()
    DOUBTED = auto()  # it was named, and has failed us since


MOVES: Final = {
    Trust.SOUGHT: {Trust.NAMED},
    Trust.NAMED: {Trust.NAMED, Trust.DOUBTED},
    Trust.DOUBTED: {Trust.NAMED, Trust.DOUBTED},
}


def _nothing(_: object) -> None: ...


class Watch:
    """``moved`` is called with the old and the new naming, as the master becomes another, before
    anything else happens; ``failover`` with BEGINS and ABORTED."""

    def __init__(
        self,
        sentinels: Sentinels,
        clock: Callable[[], float],
    ) -> None:
        self.sentinels = sentinels
        self.naming: Naming | None = None
        self.trust = Trust.SOUGHT
        self.answering = 0  # Sentinels that answered when all were asked last
        self.moved: list[Callable[[Naming, Naming], None]] = []
        self.failover: Callable[[Change], None] = _nothing
        self.why: OSError = ConnectionError("no Sentinel has been asked yet")
        self._clock = clock
        self._kick = asyncio.Event()
        self._rounds: asyncio.Future[None] | None = None  # the end of the next one that answers
        self._doubts = 0  # and switches; an answer that is older than one of these is none
        self._tellers: list[Tcp] = []
        self._looked_at = -POLL
        self._silent = False  # all Sentinels, and it has been logged

    def __repr__(self) -> str:
        return f"<Watch {self.sentinels.name} {self.trust.name} {self.naming}>"

    def _become(self, trust: Trust) -> None:
        assert trust in MOVES[self.trust], f"{self.trust.name} -> {trust.name}"
        self.trust = trust

    # --- What a dial asks and says --------------------------------------------------------------

    async def named(self) -> Tcp:
        """Where the master is, by what a Sentinel says now. ConnectionError: none says so."""
        if self.trust is not Trust.NAMED:
            self._kick.set()
            if self._rounds is None:
                self._rounds = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._rounds)
        if self.trust is not Trust.NAMED or self.naming is None:
            raise ConnectionError(str(self.why))
        return self.naming.address

    def doubt(self) -> None:
        """A connection to the master failed, or was lost: Sentinels are asked before the next."""
        if self.trust is not Trust.SOUGHT:
            self._become(Trust.DOUBTED)
            self._doubts += 1
            self._kick.set()

    # --- What Sentinels say by themselves ---------------------------------------------------------

    def told(self, teller: Tcp, what: Event) -> None:
        """A Sentinel has sent an event."""
        if what.name != self.sentinels.name:
            return
        if what.change is Change.MOVED and what.address is not None:
            self._switched(what.address)
        elif what.change in (Change.BEGINS, Change.ABORTED):
            self.failover(what.change)
            return
        if teller not in self._tellers and len(self._tellers) < TELLERS_MAX:
            self._tellers.append(teller)
        self._kick.set()

    def _switched(self, address: Tcp) -> None:
        """Its epoch is not told, but that of the old naming is over: who still says so is late."""
        if self.naming is None or self.naming.address == address:
            return
        self._doubts += 1
        self._take(Naming(address, self.naming.epoch + 1), "told")

    def look_soon(self) -> None:
        """Events may have been missed."""
        self._kick.set()

    # --- Looking ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for as long as the process lives. No failure ends it."""
        try:
            while True:
                try:
                    await self.look()
                except Exception:  # a defect of ours: the next look may do without it
                    log.exception("looking for the master failed")
                await self._rest()
        finally:
            self.sentinels.close()

    async def look(self) -> None:
        """Ask who the master is: a teller, or one Sentinel where all is well; else all of them."""
        doubts = self._doubts
        self._kick.clear()
        self._looked_at = self._clock()
        if not await self._one_is_enough(doubts):
            await self._ask_all(doubts)
        self._looked_at = self._clock()
        if doubts == self._doubts:
            self._round_over()

    def _round_over(self) -> None:
        """Those who wait to be told are told, or why they cannot be."""
        rounds, self._rounds = self._rounds, None
        if rounds is not None:
            rounds.set_result(None)

    async def _rest(self) -> None:
        """Until the next look is due, or somebody wants it sooner."""
        wait = POLL * random.uniform(0.9, 1.1)
        try:
            async with asyncio.timeout(wait):
                await self._kick.wait()
        except TimeoutError:
            return
        apart = APART_TOLD if self._tellers else APART
        await asyncio.sleep(max(0.0, self._looked_at + apart - self._clock()))

    async def _one_is_enough(self, doubts: int) -> bool:
        """Whether one Sentinel has told all that there is to know. Where all is well one is asked,
        else the teller: it may know of a newer master than the rest does."""
        if self.naming is None:
            self._tellers.clear()
            return False
        if self.trust is not Trust.NAMED and not self._tellers:
            return False
        # The longest without a word, where nobody has told anything.
        one = self._tellers.pop(0) if self._tellers else self.sentinels.known[-1]
        try:
            answer = await self.sentinels.ask(one)
        except OSError:
            known = self.sentinels.known
            if one in known:  # it will be asked again, but not at each poll
                known.remove(one)
                known.insert(0, one)
            return False
        if answer is None or doubts != self._doubts:
            return False
        newer = answer.epoch > self.naming.epoch
        if newer or (answer == self.naming and self.trust is Trust.NAMED):
            self._take(answer, "asked")
            return True
        return False

    async def _ask_all(self, doubts: int) -> None:
        answers: list[Naming] = []
        failures: list[str] = []
        known = len(self.sentinels.known)

        def take(answer: Naming | OSError | None) -> bool:
            if isinstance(answer, Naming):
                answers.append(answer)
            else:
                failures.append(self._reason(answer))
            return doubts != self._doubts or self._decide(answers, known, all_in=False)

        await self.sentinels.each(take)
        if doubts != self._doubts or len(answers) + len(failures) < known:
            return  # somebody knows better, or it is decided
        self.answering = len(answers)
        if not answers:
            self._nobody(failures)
        elif not self._decide(answers, known, all_in=True):
            self.why = ConnectionError("the Sentinels that answer name an older master")
        elif self._silent:
            self._silent = False
            event(log, logging.WARNING, "sentinels answer again", count=len(answers))

    def _decide(self, answers: list[Naming], known: int, *, all_in: bool) -> bool:
        found = decided(answers, known, self.naming, all_in=all_in)
        if found is None:
            return False
        self.answering = len(answers)
        self._take(found, "asked")
        return True

    def _reason(self, failure: OSError | None) -> str:
        if failure is None:
            return f"no such master: {self.sentinels.name}"
        return str(failure) or type(failure).__name__

    def _nobody(self, failures: list[str]) -> None:
        reason = failures[0] if failures else "none is known"
        self.why = ConnectionError(f"none of {len(failures)} Sentinels names it: {reason}")
        if not self._silent:
            self._silent = True
            event(log, logging.ERROR, "sentinels silent", count=len(failures), error=reason)

    def _take(self, naming: Naming, how: str) -> None:
        """This one is in force from now on."""
        before, self.naming = self.naming, naming
        self._become(Trust.NAMED)
        if before is None:
            event(log, logging.INFO, "master named", master=self.sentinels.name, at=naming)
        elif before.address != naming.address:
            event(
                log, logging.WARNING, "master moved", master=self.sentinels.name, old=before,
                new=naming, how=how,
            )  # fmt: skip
            for tell in self.moved:
                tell(before, naming)
        self._round_over()
