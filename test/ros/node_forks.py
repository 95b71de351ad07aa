"""Node processes as forks of one that has imported what a node imports, which takes longer than all else at its start.

`Forks.popen` stands for `subprocess.Popen` where `panoptic_ros.ros.node_process` starts a node. The server is this file
as a script: for each connection it forks a process that forks the node, waits for it and answers with its exit code.
Each of them ends with the one that forked it.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from functools import cached_property
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LARGEST_REQUEST = 1 << 18


class ForkedProcess:
    """What NodeProcess uses of `subprocess.Popen`; `stdout`, a text file, is that of the process and its errors."""

    def __init__(self, address: str, command: list[str], environment: dict[str, str]) -> None:
        reading, writing = os.pipe()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(address)
        request = json.dumps({"arguments": command[1:], "environment": environment}).encode()
        socket.send_fds(self._connection, [request], [writing])
        os.close(writing)
        self._command = command
        self.pid = int(self._connection.recv(100))
        self.returncode: int | None = None
        self.stdout = os.fdopen(reading, "r", errors="replace")

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._connection.recv(100))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self._command, timeout or 0.0) from None
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The server, from the first node until `close`. address: of its socket."""

    def __init__(self, address: Path) -> None:
        self._address = str(address)

    def popen(self, command: list[str], *, env: dict[str, str], **_: Any) -> ForkedProcess:
        """`subprocess.Popen` of a Python command whose output, errors too, is read as text."""
        assert self._server
        return ForkedProcess(self._address, command, env)

    def close(self) -> None:
        """End the server, and the nodes that are left."""
        if "_server" in vars(self):
            self._server.communicate()  # it ends when its standard input does

    @cached_property
    def _server(self) -> subprocess.Popen[bytes]:
        server = subprocess.Popen([sys.executable, __file__, self._address], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        return server


def _serve(address: str) -> None:
    import openvino  # noqa: F401

    import panoptic_ros.ros.node  # noqa: F401

    del sys.modules["panoptic_ros.ros.node"]  # each node runs it as its __main__
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(address)
    listening.listen()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the tests end first
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for the exit codes of those that wait
    print("ready", flush=True)
    while listening in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if not _fork():
            listening.close()
            _wait_for_node(connection)
        connection.close()


def _fork() -> int:
    pid = os.fork()
    if not pid:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return pid


def _wait_for_node(connection: socket.socket) -> None:
    request, (output, *_), _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, 1)
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if not (pid := _fork()):
        connection.close()
        _run(json.loads(request), output)
    os.close(output)
    connection.send(str(pid).encode())
    connection.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


def _run(request: dict[str, Any], output: int) -> None:
    """What `python ARGUMENTS` does in this environment."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: Any = 0
    try:
        match request["arguments"]:
            case "-m", module, *arguments:
                sys.argv = [module, *arguments]
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            case script, *arguments:
                sys.argv = [script, *arguments]
                runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
