"""Several processes on one port, each a whole node, and the one that watches over them.

:class:`Crew` decides who is started, when again and when all ends, and knows no processes;
:func:`supervise` carries it out. A worker is ``stretto serve`` with a socket to its
supervisor, on which it says that it listens and learns that the supervisor is gone.
"""

import asyncio
import logging
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stretto_core.errors import Unavailable
from stretto_server.settings import Settings

logger = logging.getLogger("stretto_server")

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0
STEADY_S: Final = 60.0
"""A worker that served for so long may be started again as quickly as at first."""
STARTING_S: Final = 60.0
"""So long a worker may take until it listens."""
GIVE_UP_S: Final = 90.0
"""When no worker listens for so long, whoever runs us shall know."""
GRACE_S: Final = 3.0
"""Beyond the drain time, in which workers end by themselves."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Start the worker of a place."""

    place: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the worker of a place."""

    place: int
    name: signal.Signals


@dataclass(frozen=True, slots=True)
class Announce:
    """Say that all workers listen."""


@dataclass(frozen=True, slots=True)
class End:
    """Exit: no worker is left."""

    code: int


Action: TypeAlias = Launch | Signal | Announce | End


@dataclass(slots=True)
class _Worker:
    running: bool = False
    since: float = 0.0
    """When it was started, or has listened from on."""
    listens: bool = False
    again_at: float | None = None
    pause: float = 0.0


class Crew:
    """The workers as decisions: told what happened and when, it answers what to do.

    The first worker starts alone, so that what is wrong is said once; a worker that cannot
    start before all have ends everything. Afterwards one that ends is replaced, after a
    pause that doubles from failure to failure. ``jitter`` gives numbers between 0 and 1.
    """

    def __init__(self, size: int, *, drain_s: float, jitter: Callable[[], float]) -> None:
        self._workers = [_Worker() for _ in range(size)]
        self._drain_s = drain_s
        self._jitter = jitter
        self._begun = False
        self._code: int | None = None
        """The exit code, once all shall end."""
        self._kill_at: float | None = None
        self._deserted_at: float | None = None
        """Since when no worker listens, after all have."""

    def begin(self, now: float) -> list[Action]:
        """Start."""
        return [self._launch(0, now)]

    def listens(self, place: int, now: float) -> list[Action]:
        """Note that a worker listens."""
        worker = self._workers[place]
        worker.listens, worker.since = True, now
        self._deserted_at = None
        if self._begun or self._code is not None:
            return []
        if place == 0:
            return [self._launch(other, now) for other in range(1, len(self._workers))]
        self._begun = all(one.listens for one in self._workers)
        return [Announce()] if self._begun else []

    def ended(self, place: int, code: int, now: float) -> list[Action]:
        """Note that a worker's process is gone."""
        worker = self._workers[place]
        steady = worker.listens and now - worker.since >= STEADY_S
        # It has no handler for the signal yet when it is told to end while it starts.
        clean = code == 0 or (code == -signal.SIGTERM and not worker.listens)
        worker.running = worker.listens = False
        code = 128 - code if code < 0 else code  # as shells tell of signals
        if self._code is not None:
            self._code = self._code or (0 if clean else code)
            return self._end_of_all()
        if not self._begun:
            return self._end_everything(code or 1, now)
        if not any(one.listens for one in self._workers) and self._deserted_at is None:
            self._deserted_at = now
        worker.pause = FIRST_PAUSE_S if steady else min(2 * worker.pause, LONGEST_PAUSE_S)
        worker.pause = max(worker.pause, FIRST_PAUSE_S)
        worker.again_at = now + worker.pause * (0.5 + 0.5 * self._jitter())
        return []

    def stop(self, now: float) -> list[Action]:
        """Let all drain; asked again, they leave at once."""
        if self._code is not None:
            return self._tell_all(signal.SIGTERM)
        return self._end_everything(0, now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due; call it at :meth:`due_at`, and whenever else."""
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._code = self._code or 1
            return self._tell_all(signal.SIGKILL)
        if self._code is not None:
            return []
        if self._deserted_at is not None and now >= self._deserted_at + GIVE_UP_S:
            return self._end_everything(1, now)
        actions: list[Action] = []
        for place, worker in enumerate(self._workers):
            if worker.again_at is not None and now >= worker.again_at:
                actions.append(self._launch(place, now))
            elif worker.running and not worker.listens and now >= worker.since + STARTING_S:
                actions.append(Signal(place, signal.SIGKILL))
        return actions

    def due_at(self) -> float | None:
        """Return when to call :meth:`tick` next; None for never unless something happens."""
        if self._code is not None:
            return self._kill_at
        times = [one.again_at for one in self._workers if one.again_at is not None]
        times += [one.since + STARTING_S for one in self._workers if one.running > one.listens]
        times += [] if self._deserted_at is None else [self._deserted_at + GIVE_UP_S]
        return min(times, default=None)

    def pause(self, place: int, now: float) -> float:
        """Return how long it takes until the worker of a place is started again."""
        again_at = self._workers[place].again_at
        return 0.0 if again_at is None else max(0.0, again_at - now)

    def _launch(self, place: int, now: float) -> Launch:
        worker = self._workers[place]
        worker.running, worker.since, worker.again_at = True, now, None
        return Launch(place)

    def _end_everything(self, code: int, now: float) -> list[Action]:
        self._code = code
        self._kill_at = now + self._drain_s + GRACE_S
        return self._tell_all(signal.SIGTERM) or self._end_of_all()

    def _end_of_all(self) -> list[Action]:
        assert self._code is not None
        return [] if any(one.running for one in self._workers) else [End(self._code)]

    def _tell_all(self, name: signal.Signals) -> list[Action]:
        running = [place for place, one in enumerate(self._workers) if one.running]
        return [Signal(place, name) for place in running]


async def supervise(settings: Settings, flags: Mapping[str, Any]) -> int:
    """Run ``settings.workers`` workers with the flags of the command until all have ended.

    Returns the exit code. Raises Unavailable when the port is taken.
    """
    with _reserve(settings) as reserved:
        return await _Supervisor(settings, flags, reserved.getsockname()[1]).run()


def _reserve(settings: Settings) -> socket.socket:
    """Return a socket that holds the port for the workers, and takes no connections itself.

    Two servers of one user could share a port unnoticed, so look for another one first.
    """
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for option in (None, socket.SO_REUSEPORT):
            holder = socket.socket(family, kind)
            try:
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if option is not None:
                    holder.setsockopt(socket.SOL_SOCKET, option, 1)
                    holder.bind(address)
                    return holder
                holder.bind(address)
            except BaseException:
                holder.close()
                raise
            holder.close()
    except OSError as error:
        place = settings.url_at(settings.port)
        raise Unavailable(f"cannot listen at {place}: {error.strerror or error}") from error
    raise AssertionError("one of both returned or raised")


class _Supervisor:
    """Carries out what the crew decides."""

    def __init__(self, settings: Settings, flags: Mapping[str, Any], port: int) -> None:
        self._settings = settings
        self._url = settings.url_at(port)
        self._command = _command({**flags, "port": port, "workers": settings.workers})
        self._crew = Crew(settings.workers, drain_s=settings.drain, jitter=random.random)
        self._loop = asyncio.get_running_loop()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._owed: dict[int, signal.Signals] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._code: asyncio.Future[int] = self._loop.create_future()

    async def run(self) -> int:
        """Return the exit code once all workers have ended."""
        for name in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(name, self._stop, name)
        self._perform(self._crew.begin(self._loop.time()))
        try:
            return await self._code
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await asyncio.gather(*self._tasks)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Launch(place):
                    self._keep(self._run(place))
                case Signal(place, name):
                    self._signal(place, name)
                case Announce():
                    self._announce()
                case End(code) if not self._code.done():
                    self._code.set_result(code)
        if self._timer is not None:
            self._timer.cancel()
        due_at = self._crew.due_at()
        self._timer = None if due_at is None else self._loop.call_at(due_at, self._tick)

    def _tick(self) -> None:
        self._perform(self._crew.tick(self._loop.time()))

    def _stop(self, name: signal.Signals) -> None:
        logger.info("%s: stopping the workers", name.name)
        self._perform(self._crew.stop(self._loop.time()))

    def _announce(self) -> None:
        settings = self._settings
        logger.info(
            "Stretto listens on %s, %d workers, journal %s",
            self._url,
            settings.workers,
            settings.journal_shown,
        )
        if settings.dev:
            logger.info("Development mode: open %s and edit; guests may do everything", self._url)

    def _signal(self, place: int, name: signal.Signals) -> None:
        process = self._processes.get(place)
        if process is None:
            self._owed[place] = name  # it is being started just now
        elif process.returncode is None:
            process.send_signal(name)

    def _keep(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, place: int) -> None:
        """Run the worker of a place until it has ended."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    f"--worker={theirs.fileno()}",
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    # A terminal's Ctrl-C is for us alone: to workers the signal that we
                    # send then would be the second one.
                    process_group=0,
                )
            self._processes[place] = process
            if (name := self._owed.pop(place, None)) is not None:
                process.send_signal(name)
            if await self._loop.sock_recv(ours, 64):
                self._perform(self._crew.listens(place, self._loop.time()))
            code = await process.wait()
        del self._processes[place]
        now = self._loop.time()
        actions = self._crew.ended(place, code, now)
        if (pause := self._crew.pause(place, now)) > 0:
            logger.error("a worker ended with %d; another follows in %.1f s", code, pause)
        self._perform(actions)


def _command(flags: Mapping[str, Any]) -> list[str]:
    """Return the command of a worker, with the flags that ours was given."""
    command = [sys.executable, "-m", "stretto_server", "serve"]
    for name, value in flags.items():
        command.append(f"--{name}" if value is True else f"--{name}={value}")
    return command
