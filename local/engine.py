"""The local AWS: its processes, their start and their end.

Two processes in the background, both on 127.0.0.1 only: MiniStack with our extension (every service but one), and the
local Rekognition. Their logs, their process ids and the scratch files of Lambda lie under `.engine/`. Everything they
hold (buckets, tables, stacks) is in memory and gone when they stop.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
REGION = "us-east-1"
DEFAULT_PORT = 4566
DEFAULT_REKOGNITION_PORT = 4567

# The root of the local AWS's account, which may do everything. These are no secrets.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

START_SECONDS = 60.0  # the network's weights are read from disk, which takes long on a cold one
STOP_SECONDS = 3.0


# The processes that this very process started.
_children: dict[int, subprocess.Popen[bytes]] = {}


class UserError(Exception):
    """Something went wrong that a person can fix; the message says what and how."""


@dataclass(frozen=True)
class Process:
    """One background process of the local AWS."""

    name: str  # also the name of its log and process id file
    title: str
    module: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    port: int
    port_variable: str
    health_path: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"


class Engine:
    """The local AWS of one directory, at one pair of ports."""

    def __init__(
        self,
        port: int = DEFAULT_PORT,
        rekognition_port: int = DEFAULT_REKOGNITION_PORT,
        home: Path = REPOSITORY / ".engine",
        python: Path = REPOSITORY / ".engine" / "venv" / "bin" / "python",
    ) -> None:
        self.home = home
        self.logs = home / "logs"
        self.python = python
        aws = Process(
            name="aws",
            title="AWS",
            module="local.ministack_ext",
            arguments=(),
            environment={"GATEWAY_PORT": str(port), "BIND_HOST": HOST},
            port=port,
            port_variable="PORT",
            health_path="/_ministack/health",
        )
        rekognition = Process(
            name="rekognition",
            title="Rekognition",
            module="local.rekognition",
            arguments=("--port", str(rekognition_port), "--s3-endpoint", aws.url, "--rights-endpoint", aws.url),
            environment=CREDENTIALS,
            port=rekognition_port,
            port_variable="REKOGNITION_PORT",
            health_path="/health",
        )
        self.processes = (aws, rekognition)
        self.url = aws.url
        self.rekognition_url = rekognition.url

    def client(self, service: str) -> Any:
        """A boto3 client of the local AWS, deaf to the user's own AWS configuration and proxies."""
        # (name in the configuration file, environment variable, default, conversion): no variable, no file.
        unset = {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull}
        variables = {name: (None, None, default, None) for name, default in unset.items()}
        session: Any = boto3.session.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
            botocore_session=botocore.session.Session(session_vars=variables),
        )
        return session.client(service, endpoint_url=self.url, config=Config(proxies={}))

    def up(self) -> bool:
        """Start what is not running, and wait until it answers. False when all of it ran already.

        Raises UserError when a port is taken or a process does not start; what this call started is then stopped.
        """
        if not self.python.exists():
            raise UserError("The local AWS is not installed: run `make install`.")
        started = []
        with self._locked():
            try:
                for process in self.processes:
                    if not self._runs(process):
                        started.append(process)
                        self._start(process)
                for process in started:
                    self._wait_until_healthy(process)
            except BaseException:
                for process in reversed(started):
                    self._stop(process)
                raise
        return bool(started)

    def down(self) -> bool:
        """Stop its processes and remove what they left. False when none ran."""
        with self._locked():
            stopped = [self._stop(process) for process in reversed(self.processes)]
            shutil.rmtree(self.home / "tmp", ignore_errors=True)
        return any(stopped)

    def is_up(self) -> bool:
        """Whether all of it runs, at these ports."""
        return all(self._runs(process) for process in self.processes)

    def running_ports(self) -> dict[str, int]:
        """The ports of the processes that run, whichever this object was made for."""
        records = {process.name: self._recorded(process) for process in self.processes}
        return {name: record["port"] for name, record in records.items() if record}

    def log(self, process: Process) -> Path:
        """The file that holds the process's output."""
        return self.logs / f"{process.name}.log"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one command at a time starts or stops processes here."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _pid_file(self, process: Process) -> Path:
        return self.home / f"{process.name}.pid"

    def _recorded(self, process: Process) -> dict[str, Any] | None:
        """What the process id file says, if that very process is alive; a stale file is removed."""
        file = self._pid_file(process)
        try:
            record: dict[str, Any] = json.loads(file.read_text())
            if record["birth"] and _birth(record["pid"]) == record["birth"]:
                return record
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            pass  # damaged: as good as none
        file.unlink(missing_ok=True)
        return None

    def _runs(self, process: Process) -> bool:
        record = self._recorded(process)
        if record and record["port"] != process.port:
            raise UserError(
                f"The local {process.title} already runs on port {record['port']}: use that one, "
                f"or stop it with `make down` and start it on port {process.port}."
            )
        return record is not None

    def _start(self, process: Process) -> None:
        if _is_taken(process.port):
            raise UserError(
                f"Port {process.port} is in use by another program: stop that program, or choose another port for the "
                f"local {process.title}, for example {process.port_variable}={process.port + 1000}."
            )
        log = self.log(process)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            child = subprocess.Popen(  # noqa: S603 - our own program
                [self.python, "-m", process.module, *process.arguments],
                cwd=REPOSITORY,
                env={**self._clean_environment(), **process.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is for the command, which decides what to stop
            )
        _children[child.pid] = child
        try:
            record = {"pid": child.pid, "birth": _birth(child.pid), "port": process.port}
            self._pid_file(process).write_text(json.dumps(record))
        except BaseException:  # nothing could stop it later
            child.kill()
            raise

    def _clean_environment(self) -> dict[str, str]:
        """What the local AWS, and with it every Lambda function, sees: nothing of the developer's.

        The home directory and the configuration files are empty, so that no profile, region or credential of theirs
        can reach a client that a function makes.
        """
        for directory in ("home", "tmp"):
            (self.home / directory).mkdir(parents=True, exist_ok=True)
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home / "home"),
            "TMPDIR": str(self.home / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": REGION,
        }

    def _wait_until_healthy(self, process: Process) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            healthy = _is_healthy(process.url + process.health_path)
            if self._recorded(process) is None:  # whoever answers: another program may have taken the port meanwhile
                raise UserError(f"The local {process.title} did not start.\n{self._end_of_log(process)}")
            if healthy:
                return
            if time.monotonic() > deadline:
                problem = f"The local {process.title} did not answer within {START_SECONDS:.0f} s."
                raise UserError(f"{problem}\n{self._end_of_log(process)}")
            time.sleep(0.1)

    def _end_of_log(self, process: Process) -> str:
        lines = self.log(process).read_text(errors="replace").splitlines()
        return "\n".join([*lines[-15:], f"Its log: {self.log(process)}"])

    def _stop(self, process: Process) -> bool:
        """End the recorded process and its workers; False when there was none."""
        record = self._recorded(process)
        if record is None:
            return False
        pid = record["pid"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _birth(pid) == record["birth"] and time.monotonic() < deadline:
            time.sleep(0.05)
        # Whatever is left of its session, which began with it: a process that does not listen, a Lambda worker.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if pid in _children:
            _children.pop(pid).wait()
        self._pid_file(process).unlink(missing_ok=True)
        return True


def _birth(pid: int) -> str | None:
    """When a process began, as text to compare; None when there is no such process.

    With the process id it names a process for good: ids are given out again, pairs of both are not.
    """
    if pid in _children:
        _children[pid].poll()  # a child that has ended stays in the process table until its parent asks
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        state, threads, start_time = fields[0], int(fields[17]), fields[19]
        # A first thread that is dead (Z) while others end still holds the process's ports.
        return None if state in "ZX" and threads <= 1 else start_time
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    ps = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    return ps.stdout.strip() or None


def _is_taken(port: int) -> bool:
    """Whether a program listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def _is_healthy(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def home_from_environment() -> Path:
    """The directory ENGINE_HOME that holds the files of the local AWS; default `.engine`."""
    return Path(os.environ.get("ENGINE_HOME") or REPOSITORY / ".engine").resolve()


def engine_from_environment() -> Engine:
    """The local AWS whose files lie in ENGINE_HOME, at the ports of PORT and REKOGNITION_PORT.

    A port that is not given is the one it runs on, else the default.
    Raises UserError for a value that is no port, or the same one twice.
    """
    home = home_from_environment()
    running = Engine(home=home).running_ports()
    port = _port("PORT", running.get("aws", DEFAULT_PORT))
    rekognition_port = _port("REKOGNITION_PORT", running.get("rekognition", DEFAULT_REKOGNITION_PORT))
    if port == rekognition_port:
        raise UserError(f"PORT and REKOGNITION_PORT are both {port}: give them different values.")
    return Engine(port, rekognition_port, home)


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise UserError(f"{variable} is {text!r}: give a port number from 1024 to 65535.")
    return int(text)


@contextlib.contextmanager
def stopped_unless_finished(engine: Engine) -> Iterator[None]:
    """Stop the local AWS when the block is left by an error, by Ctrl-C or by a termination signal.

    One that ran before keeps running.
    """
    ran_before = engine.is_up()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        yield
    except BaseException:
        if not ran_before:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut this short
            print("Stopping the local AWS ...", file=sys.stderr, flush=True)
            engine.down()
        raise
