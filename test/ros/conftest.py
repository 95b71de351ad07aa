"""A node in a process of its own, on a private DDS network, and what a test needs to talk to it."""

from __future__ import annotations

import array
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2: run the tests with `make test`")
pytest.importorskip("panoptic_ros.msg", reason="needs the built messages: run the tests with `make test`")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.srv import GetParameters, SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from panoptic_ros.ros import node_process  # noqa: E402
from panoptic_ros.ros.node_process import NODE, NodeProcess, Participant, private_network  # noqa: E402

EXAMPLE_METHOD = Path(__file__).parents[1] / "example_method.py"


class RunningNode:
    """The process, a participant, and the last that /diagnostics said."""

    def __init__(self, process: NodeProcess, participant: Participant) -> None:
        self.process, self.participant = process, participant
        self._reports: list[DiagnosticArray] = []
        self._publishers: dict[tuple[type, str], Any] = {}
        participant.subscribe(DiagnosticArray, "/diagnostics", self._reports.append, 100)

    def wait_for(self, condition: Callable[[], Any], what: str, patience: float = 150.0) -> Any:
        """See Participant.wait_for; long enough for a machine that is busy with other things."""
        return self.participant.wait_for(condition, what, patience)

    def state(self) -> str:
        """Of the lifecycle, as the diagnostics have it."""
        return self.values("").get("state", "")

    def values(self, camera: str = "camera") -> dict[str, str]:
        """The newest diagnostics of a camera, or with an empty name of the node."""
        name = f"{NODE}/{camera}" if camera else NODE
        status = [s for s in self._reports[-1].status if s.name == name] if self._reports else []
        return {row.key: row.value for row in status[0].values} if status else {}

    def message(self, camera: str = "") -> str:
        """The newest diagnostic message, in words."""
        name = f"{NODE}/{camera}" if camera else NODE
        return next((s.message for s in self._reports[-1].status if s.name == name), "") if self._reports else ""

    def count(self, key: str, camera: str = "camera") -> int:
        """A number of a camera's newest diagnostics, 0 where it is not there."""
        return int(self.values(camera).get(key, 0))

    def fresh_diagnostics(self) -> None:
        """Wait for diagnostics that were made after this call."""
        seen = len(self._reports)
        self.wait_for(lambda: len(self._reports) > seen + 1, "two more diagnostics")

    def subscribe(self, kind: type, topic: str) -> list[Any]:
        """A list that grows with each message of a topic below the node's name; the node knows of it already."""
        messages: list[Any] = []
        self.participant.subscribe(kind, f"{NODE}/{topic}", messages.append, 100)
        camera, _, output = topic.partition("/")
        camera, output = (camera, output) if self.values(camera) else ("camera", topic)
        self.wait_for(lambda: self.count(f"subscribers: {output}", camera), f"the node to know who wants {topic}")
        return messages

    def publish(self, message: Any, topic: str = "/image") -> None:
        """Publish to the node once it listens."""
        key = (type(message), topic)
        if key not in self._publishers:
            self._publishers[key] = self.participant.node.create_publisher(*key, 10)
            camera = topic.split("/")[1] if topic.count("/") > 1 and self.values(topic.split("/")[1]) else "camera"
            self.wait_for(lambda: self.count("publishers", camera), f"the node to know who publishes {topic}")
        self.wait_for(self._publishers[key].get_subscription_count, f"the node to subscribe to {topic}")
        self._publishers[key].publish(message)

    def publish_until_answered(self, message: Any, answers: list[Any], topic: str = "/image") -> Any:
        """Publish one image and return the one result of it."""
        seen = len(answers)
        self.publish(message, topic)
        self.wait_for(lambda: len(answers) > seen, "a result")
        return answers[seen]

    def set_parameter(self, name: str, value: Any) -> str:
        """Set a parameter; returns the reason why it was refused, or nothing."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        (result,) = self.participant.call(SetParameters, "set_parameters", request).results
        return "" if result.successful else result.reason


    def parameter(self, name: str) -> Any:
        """The value of a parameter."""
        request = GetParameters.Request(names=[name])
        (value,) = self.participant.call(GetParameters, "get_parameters", request).values
        return Parameter.from_parameter_msg(ParameterMessage(name=name, value=value)).value


@pytest.fixture(scope="session", autouse=True)
def forked_nodes() -> Iterator[None]:
    """Nodes are forks of one process, see `node_forks.py`."""
    # The path of a socket is of 107 characters at most.
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        forks = runpy.run_path(str(Path(__file__).with_name("node_forks.py")))["Forks"](Path(folder) / "forks")
        patch.setattr(node_process, "Popen", forks.popen)
        yield
        forks.close()


@pytest.fixture
def fresh_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are started as those of users are: with an interpreter of their own."""
    monkeypatch.setattr(node_process, "Popen", subprocess.Popen)


@pytest.fixture(scope="module")
def start_node() -> Iterator[Callable[..., RunningNode]]:
    """Start a node with these arguments and parameters; it ends with the tests of the file.

    Its engine is the one that is ready at once, and its diagnostics come often, unless the parameters say otherwise.
    """
    opened: list[Any] = []

    def start(arguments: tuple[str, ...] = (), **parameters: Any) -> RunningNode:
        environment = private_network()
        process = NodeProcess({"engine": "torch", "diagnostics_period": 0.1, **parameters}, environment, arguments)
        opened.append(process)
        participant = Participant(process, environment)
        opened.append(participant)
        return RunningNode(process, participant)

    yield start
    for one in reversed(opened):
        one.__exit__(None, None, None)


@pytest.fixture(scope="module")
def example_nodes() -> Iterator[None]:
    """Nodes have the method of docs/add_a_method.md, see `example_method.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_process, "NODE_COMMAND", (sys.executable, str(EXAMPLE_METHOD)))
        yield


@pytest.fixture(scope="session")
def make_image() -> Callable[..., Image]:
    """Makes a sensor_msgs/Image with blocks of colour; `seed` chooses them."""

    def make(stamp: tuple[int, int] = (0, 0), seed: int = 0, height: int = 64, width: int = 128,
             encoding: str = "bgr8", frame_id: str = "front camera") -> Image:
        blocks = np.random.default_rng(seed).integers(0, 255, (height // 16, width // 16, 3), np.uint8)
        pixels = blocks.repeat(16, axis=0).repeat(16, axis=1)
        message = Image(height=height, width=width, encoding=encoding, step=3 * width)
        message.data = array.array("B", pixels.tobytes())
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        message.header.frame_id = frame_id
        return message

    return make


@pytest.fixture(scope="session")
def other_model(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model under another name, with another threshold."""
    folder = tmp_path_factory.mktemp("models") / "other"
    folder.mkdir()
    for file in model_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / "model.yaml").read_text()
    assert "seed: 0.05" in text
    (folder / "model.yaml").write_text(text.replace("seed: 0.05", "seed: 0.06"))
    return folder
