"""A participant beside a node's process leaves this process as it was."""

from __future__ import annotations

import os
from typing import Any

import pytest

from panoptic_ros.ros.node_process import Participant, private_network


@pytest.mark.parametrize("before", [None, "77"])
def test_a_participant_is_in_the_nodes_network_and_the_environment_stays_as_it_was(
        monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    if before is not None:
        monkeypatch.setenv("ROS_DOMAIN_ID", before)
    network, environment, process = private_network(), dict(os.environ), object()
    anything: Any = process  # it is asked only while somebody waits for the node
    with Participant(anything, network) as participant:
        assert participant.node.context.get_domain_id() == int(network["ROS_DOMAIN_ID"])
        assert dict(os.environ) == environment
