"""Lifecycle node: wires topics, parameters and diagnostics around the perception."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import RLock
from time import monotonic
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from panoptic_ros.engines import BuiltAhead
from panoptic_ros.errors import InputError
from panoptic_ros.messages import camera_info_topic, focal_length
from panoptic_ros.perception import Perception
from panoptic_ros.ros import bond, qos
from panoptic_ros.ros.diagnostics import NodeReport, camera_status, node_status
from panoptic_ros.ros.free_memory import share_one_arena
from panoptic_ros.ros.inputs import CameraInput
from panoptic_ros.ros.outputs import CameraOutputs, OverlaySettings
from panoptic_ros.ros.parameters import NodeSettings, ParameterGroup, TracksFileSettings
from panoptic_ros.ros.spinning import spin_until_signal
from panoptic_ros.ros.statistics import StreamReport, StreamStatistics
from panoptic_ros.ros.synchronisation import subscribe_synchronised
from panoptic_ros.ros.tracks_file import TracksFile
from panoptic_ros.ros.worker import Worker
from panoptic_ros.tracking import TrackerSettings
from panoptic_ros.viewing.overlay import OverlayStyle

# CPU cores from which on one is free beside a network on the CPU.
CORES_FOR_PIPELINING = 4
# Whose words are for the user.
_EXPECTED = (InputError, ParameterException, rclpy_implementation.RCLError)


@dataclass
class Configured:
    """The resources of a configured node, from `configure` to `cleanup`; outputs and statistics are per camera."""

    perception: Perception
    thresholds: ParameterGroup
    tracks_file: TracksFile | None = None
    outputs: dict[str, CameraOutputs] = field(default_factory=dict)
    statistics: dict[str, StreamStatistics] = field(default_factory=dict)


class PanopticNode(LifecycleNode):
    """Camera topics in, panoptic segments with tracks out; topics and parameters are listed in the README.

    Unconfigured it has parameters and diagnostics, inactive a model and its outputs, active a worker and its inputs.
    """

    def __init__(self) -> None:
        super().__init__("panoptic_ros")
        # Transitions come from the executor, and from the main thread at the end.
        self._lock = RLock()
        self._settings = ParameterGroup(self, NodeSettings())
        self._tracking = ParameterGroup(self, TrackerSettings(), "tracking.")
        self._tracks_file = ParameterGroup(self, TracksFileSettings(), "tracking.")
        self._overlay = ParameterGroup(self, OverlayStyle(), "overlay.")
        self._configured: Configured | None = None
        self._candidate: Perception | None = None
        self._worker: Worker | None = None
        self._inputs: dict[str, CameraInput] = {}
        self._synchronised: Sequence[Any] = ()
        self._calibrations: Sequence[Any] = ()
        self._bond: bond.Bond | None = None
        self._active_since = 0.0
        self._explained: dict[str, str] = {}
        self._input_group = MutuallyExclusiveCallbackGroup()
        self._problem = ""
        self.add_on_set_parameters_callback(self._validate)
        self.add_post_set_parameters_callback(self._apply)
        self.create_service(Trigger, "~/reset_tracks", self._reset_tracks)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On a steady clock: diagnostics go on while a bag is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics_timer = self.create_timer(
            self.get_parameter("diagnostics_period").value, self._diagnose, clock=steady)
        self.create_timer(0.2, self._update_inputs, clock=steady)
        self._autostart = self.create_timer(0.0, self._start, clock=steady)
        self._refuse_what_does_not_fit()

    def close(self) -> None:
        """End in order, from any state."""
        with self._lock:
            if self._state() in ("unconfigured", "inactive", "active"):
                self.trigger_shutdown()
            self.destroy_node()

    # Lifecycle

    def _refuse_what_does_not_fit(self) -> None:
        """Answer a request for a transition that this state does not have with `success: false`, as rclcpp does.

        rclpy raises, which would end the node: two managers, or one that configures a node that did so itself.
        """
        change = self._service_change_state.callback

        def change_or_refuse(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return change(request, response)
            except rclpy_implementation.RCLError:
                wanted = request.transition.label or f"transition {request.transition.id}"
                self.get_logger().warning(f"Refused to {wanted}: the node is {self._state()}")
                response.success = False
                return response

        self._service_change_state.callback = change_or_refuse

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and create the publishers; whatever fails is logged and undone."""
        return self._transition(self._configure, self._clean_up, "cannot be configured")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker, then subscribe to the cameras."""
        return self._transition(self._activate, self._stop, "cannot be activated")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and let the worker finish; ERROR when the worker had given up."""
        with self._lock:
            self._stop()
            return TransitionCallbackReturn.ERROR if self._problem else TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unload the model, destroy the publishers."""
        with self._lock:
            self._clean_up()
            return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The same, from any state."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After too many consecutive failures: back to unconfigured, from where it can be configured again."""
        return self.on_cleanup(state)

    def _transition(self, work: Callable[[NodeSettings], None], undo: Callable[[], None],
                    problem: str) -> TransitionCallbackReturn:
        with self._lock:
            try:
                work(self._settings.read())
            except Exception as error:
                undo()
                self._problem = f"{problem}: {_reason(error)}"
                self.get_logger().error(f"The node {self._problem}")
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.SUCCESS

    def _start(self) -> None:
        self._autostart.cancel()
        with self._lock:
            if self.get_parameter("autostart").value and self._state() == "unconfigured" \
                    and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()

    def _configure(self, settings: NodeSettings) -> None:
        perception = self._load(settings)
        self._configured = configured = Configured(
            perception, ParameterGroup(self, perception.model.thresholds, "thresholds."))
        perception.thresholds = configured.thresholds.read()
        if file := self._tracks_file.read().state_file:
            configured.tracks_file = TracksFile(Path(file).expanduser(), self.get_logger())
            configured.tracks_file.restore(perception)
        height, width = settings.warm_up_size
        if isinstance(perception.engine, BuiltAhead) and min(height, width) == 0:
            height, width = perception.model.input_size
        if min(height, width) > 0:
            perception.warm_up(height, width, len(settings.cameras))
        for camera in settings.cameras:
            configured.statistics[camera] = StreamStatistics()
            configured.outputs[camera] = CameraOutputs(self, f"~/{camera}" if camera else "~")
            configured.outputs[camera].offer(perception.model)
        if settings.bond_heartbeat_period > 0 and bond.is_installed():
            self._bond = bond.Bond(self, settings.bond_heartbeat_period)
        self._problem = ""
        self.get_logger().info(f"Model {perception.model.model_id} on {perception.engine.name}, "
                               f"{perception.engine.device}, {perception.engine.precision} precision")

    def _load(self, settings: NodeSettings) -> Perception:
        return Perception(settings.model, settings.engine, settings.device,
                          settings.precision, self._tracking.read(), progress=self._tell_progress)

    def _tell_progress(self, text: str) -> None:
        """In the log and on /diagnostics, while configuring keeps the timer from telling anything."""
        self.get_logger().info(text)
        status = node_status(self.get_fully_qualified_name(), NodeReport("configuring", "", {"progress": text}))
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _activate(self, settings: NodeSettings) -> None:
        assert self._configured is not None
        self._problem = ""
        self._worker = Worker(self._configured.perception, self._configured.outputs, self._configured.statistics,
                              self._overlay_settings(), settings.max_failures, self.get_logger(),
                              self._configured.tracks_file,
                              _has_pipelining(settings.pipelining, self._configured.perception))
        self._active_since = monotonic()
        self._explained = {}
        options = {"qos_profile": qos.newest_image(), "callback_group": self._input_group,
                   "qos_overriding_options": qos.overridable()}
        if settings.approximate_sync:
            kind = Image if settings.transport == "raw" else CompressedImage
            topics = {camera: self._topic(camera) for camera in settings.cameras}
            self._synchronised = subscribe_synchronised(
                self, kind, topics, settings.approximate_sync_tolerance_seconds, self._worker.receive, options)
        else:
            self._inputs = {camera: CameraInput(self, f"{camera}/image" if camera else "image", settings.transport,
                                                partial(self._receive, camera), self._input_group)
                            for camera in settings.cameras}
        self._calibrations = [
            self.create_subscription(CameraInfo, camera_info_topic(self._topic(camera)),
                                     partial(self._calibrate, camera), **options) for camera in settings.cameras]
        if self._bond:
            self._bond.start()

    def _update_inputs(self) -> None:
        with self._lock:
            for one in self._inputs.values():
                one.update()

    def _topic(self, camera: str) -> str:
        """The input topic of a camera."""
        if camera in self._inputs:
            return self._inputs[camera].topic
        topic = str(self.resolve_topic_name(f"{camera}/image" if camera else "image"))
        return topic if self.get_parameter("transport").value == "raw" else f"{topic}/compressed"

    def _receive(self, camera: str, image: Any) -> None:
        if worker := self._worker:
            worker.receive({camera: image})

    def _calibrate(self, camera: str, camera_info: CameraInfo) -> None:
        if worker := self._worker:
            worker.calibrate(camera, camera_info)

    def _stop(self) -> None:
        if self._bond:
            self._bond.end()
        for one in self._inputs.values():
            one.destroy()
        for subscription in (*self._synchronised, *self._calibrations):
            self.destroy_subscription(subscription)
        self._inputs, self._synchronised, self._calibrations = {}, (), ()
        if self._worker:
            self._worker.stop()
            self._problem = self._worker.failure
            self._worker = None

    def _clean_up(self) -> None:
        self._stop()
        if self._bond:
            self._bond.destroy()
            self._bond = None
        if self._configured:
            if self._configured.tracks_file:
                self._configured.tracks_file.close(self._configured.perception)
            self._configured.thresholds.undeclare()
            for outputs in self._configured.outputs.values():
                outputs.destroy()
        self._configured = self._candidate = None

    def _state(self) -> str:
        return str(self._state_machine.current_state[1])

    # Parameters

    def _validate(self, changes: list[Parameter]) -> SetParametersResult:
        """Reject invalid changes, with the reason; a new model is loaded and warmed up here, as this may fail."""
        values = {change.name: change.value for change in changes}
        self._candidate = None
        try:
            for group in self._groups():
                mine = [name for name in values if name in group]
                if fixed := [name for name in mine if self._configured and not group.is_live(name)]:
                    raise InputError(f"{fixed[0]} is fixed while the node is configured: clean it up first")
                if mine:
                    group.read(values)
            if self._configured and "model" in values:
                candidate = self._load(self._settings.read(values))
                for (height, width), count in (self._worker.sizes if self._worker else {}).items():
                    candidate.warm_up(height, width, count)
                self._candidate = candidate
        except Exception as error:
            return SetParametersResult(successful=False, reason=_reason(error))
        return SetParametersResult(successful=True)

    def _apply(self, changes: list[Parameter]) -> None:
        """Apply accepted changes, from the next frame on."""
        for change in changes:
            if change.name == "diagnostics_period":
                self._diagnostics_timer.timer_period_ns = round(1e9 * change.value)
        configured = self._configured
        if configured is None or not any(change.name in group for change in changes for group in self._groups()):
            return
        with self._lock:
            if self._candidate:
                self._replace_model(configured, self._candidate, {change.name: change.value for change in changes})
                self._candidate = None
            configured.perception.thresholds = configured.thresholds.read()
            configured.perception.tracking = self._tracking.read()
            if self._worker:
                self._worker.overlay = self._overlay_settings()
                self._worker.max_failures = self.get_parameter("max_failures").value

    def _replace_model(self, configured: Configured, perception: Perception, changes: dict[str, Any]) -> None:
        """Exchange the model; it brings its own thresholds, unless a parameter file or this change has others."""
        model = perception.model
        configured.thresholds.undeclare()
        given = {name: changes[f"thresholds.{name}"] for name in vars(model.thresholds)
                 if f"thresholds.{name}" in changes}
        configured.thresholds = ParameterGroup(self, replace(model.thresholds, **given), "thresholds.")
        if self._worker:
            # First here: the worker lets go of the other one, and gives back its memory, where nobody else holds it.
            configured.perception = perception
            self._worker.replace_perception(perception)
        else:
            perception.continue_tracks_of(configured.perception)
            configured.perception = perception
        for outputs in configured.outputs.values():
            outputs.offer(model)
        self.get_logger().info(f"Model changed to {model.model_id}, from the next frame on")

    def _groups(self) -> Iterator[ParameterGroup]:
        yield from (self._settings, self._tracking, self._tracks_file, self._overlay)
        if self._configured:
            yield self._configured.thresholds

    def _overlay_settings(self) -> OverlaySettings:
        return OverlaySettings(self._overlay.read(), self.get_parameter("jpeg_quality").value)

    # Tracks and diagnostics

    def _reset_tracks(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            response.success = self._configured is not None
            response.message = "tracks were reset" if response.success else "the node is not configured: no tracks"
            if self._worker:
                self._worker.reset_tracks()
            elif self._configured:
                self._configured.perception.reset_tracks()
        return response

    def _diagnose(self) -> None:
        with self._lock:
            if self._worker and self._worker.failure:
                self.get_logger().error(f"The node {self._worker.failure}")
                self.trigger_deactivate()
            message = DiagnosticArray(status=list(self._status()))
            message.header.stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(message)

    def _status(self) -> Iterator[DiagnosticStatus]:
        name, facts = self.get_fully_qualified_name(), {}
        if self._configured:
            perception = self._configured.perception
            engine = perception.engine
            facts = {"model": perception.model.model_id, "engine": engine.name, "device": str(engine.device),
                     "precision": engine.precision, "tracks_total": str(perception.tracks_born()),
                     "pipelining": "on" if _has_pipelining(self._settings.read().pipelining, perception) else "off"}
            if torch.cuda.is_initialized():
                facts["gpu_memory_mib"] = f"{torch.cuda.memory_allocated() / 2**20:.0f}"
        yield node_status(name, NodeReport(self._state(), self._problem, facts))
        if self._worker and self._configured:
            for camera, outputs in self._configured.outputs.items():
                topic, stale_after = self._topic(camera), self.get_parameter("stale_after").value
                report = self._configured.statistics[camera].report()
                yield camera_status(f"{name}/{camera or 'camera'}", topic, self.count_publishers(topic), report,
                                    outputs.published, outputs.subscribers(), stale_after, facts["device"],
                                    self._input_problem(camera, report, stale_after), self._focal_length(camera))

    def _focal_length(self, camera: str) -> float | None:
        info = self._worker.camera_infos.get(camera) if self._worker else None
        return None if info is None else focal_length(info, info.width)

    def _input_problem(self, camera: str, report: StreamReport, stale_after: float) -> str:
        """Why no image comes from a camera; told in the log once, until one comes."""
        waited = monotonic() - self._active_since if report.age_s is None else report.age_s
        if waited < stale_after or camera not in self._inputs:
            if report.age_s is not None and self._explained.pop(camera, ""):
                self.get_logger().info(f"Images come on {self._topic(camera)}")
            return ""
        problem = self._inputs[camera].problem()
        if problem and self._explained.get(camera) != problem:
            self._explained[camera] = problem
            self.get_logger().warning(f"No images: {problem}")
        return problem


def _has_pipelining(setting: str, perception: Perception) -> bool:
    """Whether the next image is prepared while one is in the network; `auto`: where the network needs no core of it."""
    free = perception.engine.device.type != "cpu" or len(os.sched_getaffinity(0)) >= CORES_FOR_PIPELINING
    return setting == "always" or (setting == "auto" and free)


def _reason(error: Exception) -> str:
    """What went wrong; errors that are not meant for users come with their type."""
    return str(error) if isinstance(error, _EXPECTED) else f"{type(error).__name__}: {error}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 0 when it ended as asked, 2 when a parameter given at start is wrong, or
    ROS cannot make a node, as where security is enforced and there is no keystore."""
    share_one_arena()
    try:
        spin_until_signal(PanopticNode, PanopticNode.close, args)
    except _EXPECTED as error:
        print(f"panoptic_ros node: {_reason(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
