"""The node as a process of its own, and a participant beside it: for live replay, benchmark and tests."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from threading import Condition, Thread
from types import TracebackType
from typing import IO, Any, TypeVar

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from panoptic_ros.errors import InputError
from panoptic_ros.paths import shared_folder
from panoptic_ros.ros.log_folder import have_log_folder
from panoptic_ros.ros.shared_memory import remove_abandoned_segments

Result = TypeVar("Result")

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2): the signal that a process gets when the one that started it ends

NODE = "/panoptic_ros"
# What a NodeProcess runs, before its ROS arguments.
NODE_COMMAND = (sys.executable, "-m", "panoptic_ros.ros.node")
# Lines of the node's log that are kept to explain a failure.
LAST_LINES = 20


def private_network() -> dict[str, str]:
    """Environment variables for ROS processes that talk to each other on this machine and disturb nobody else.

    A ROS domain nobody uses here, discovery on this machine, and the package's Fast DDS profile unless there is one.
    """
    domains = random.sample(range(1, 102), 101)
    free = next((domain for domain in domains if _is_free(domain)), domains[0])
    return {"ROS_DOMAIN_ID": str(free), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            **{name: os.environ.get(name, str(shared_folder("config") / "fastdds.xml"))
               for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")}}


def _is_free(domain: int) -> bool:
    """Whether the port of a domain's first participant (DDS-RTPS 2.2, 9.6.1) is not in use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7400 + 250 * domain + 10))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """The variables of this process with these changes, and afterwards as they were."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class NodeProcess:
    """The node in a process of its own, ended with this context manager.

    parameters: of the node, by name. arguments: further arguments after --ros-args. environment: added to ours.
    """

    def __init__(self, parameters: Mapping[str, Any], environment: Mapping[str, str],
                 arguments: tuple[str, ...] = ()) -> None:
        # Signals to our terminal are not for the node, which is ended in order; if we are killed, the kernel tells it.
        # JSON is YAML, which is what ROS reads.
        settings = [word for name, value in parameters.items() for word in ("-p", f"{name}:={json.dumps(value)}")]
        self._process = Popen(
            [*NODE_COMMAND, "--ros-args", *settings, *arguments],
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"}, stdout=PIPE,
            stderr=STDOUT, text=True, errors="replace", start_new_session=True,
            preexec_fn=partial(_LIBC.prctl, _PR_SET_PDEATHSIG, signal.SIGTERM))
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        assert self._process.stdout is not None
        self._reading = Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reading.start()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def log(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._lines)

    def stop(self, by: signal.Signals = signal.SIGINT, patience: float = 20.0) -> int:
        """Ask it to end, kill it when it does not within `patience` seconds; returns its exit code."""
        if self.is_running():
            self._process.send_signal(by)
        try:
            self._process.wait(patience)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reading.join(patience)
        return self._process.returncode

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.append(line.rstrip())


class Participant:
    """A ROS node of our own in the network of a NodeProcess; a thread runs its callbacks.

    node: to create publishers and subscriptions with. environment: of the network; this process keeps its own.
    """

    def __init__(self, process: NodeProcess, environment: Mapping[str, str]) -> None:
        self._process = process
        self._changed = Condition()
        self._context = Context()
        self._clients: dict[str, Any] = {}
        have_log_folder()
        remove_abandoned_segments()
        # rcl and Fast DDS read it when a context and a participant are made, and not after that.
        with _environment(environment):
            rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
            self.node = rclpy.create_node("panoptic_ros_replay", context=self._context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._spinning = Thread(target=self._spin, daemon=True)
        self._spinning.start()

    def __enter__(self) -> Participant:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._executor.shutdown()
        self._spinning.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def subscribe(self, message_class: Any, topic: str, callback: Callable[[Any], None], profile: Any,
                  raw: bool = False) -> Any:
        """A subscription after whose callbacks `wait_for` looks again; raw: of serialized messages."""

        def receive(message: Any) -> None:
            callback(message)
            with self._changed:
                self._changed.notify_all()

        return self.node.create_subscription(message_class, topic, receive, profile, raw=raw)

    def wait_for(self, condition: Callable[[], Result], what: str, patience: float = 60.0) -> Result:
        """Wait until the condition is true and return what it returned.

        Raises InputError with `what` and the end of the node's log when the node ends or `patience` seconds pass.
        """
        deadline = time.monotonic() + patience
        while not (result := condition()):
            if not self._process.is_running():
                raise InputError(f"the node ended while waiting for {what}; its last lines:\n{self._process.log()}")
            if time.monotonic() > deadline:
                raise InputError(f"waited {patience:.0f} s in vain for {what}; the node's last lines:\n"
                                 f"{self._process.log()}")
            with self._changed:
                self._changed.wait(0.02)
        return result

    def call(self, service: Any, name: str, request: Any, patience: float = 60.0) -> Any:
        """Call a service of the node, given by its name below the node's, and return the response."""
        # Kept: the service waits 0.1 s for a client that it has not discovered yet, and then drops the answer.
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service, f"{NODE}/{name}")
        client = self._clients[name]
        self.wait_for(client.service_is_ready, f"the service {name}", patience)
        future = client.call_async(request)
        self.wait_for(future.done, f"an answer of the service {name}", patience)
        return future.result()

    def state(self) -> str:
        """The node's lifecycle state."""
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def transition(self, name: str, patience: float = 120.0) -> bool:
        """Have the node make a lifecycle transition, such as `configure`; returns whether it succeeded."""
        request = ChangeState.Request(transition=Transition(label=name))
        return bool(self.call(ChangeState, "change_state", request, patience).success)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()
